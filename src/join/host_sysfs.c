/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree in /sys of a program that has joined: its runner has mounted it, and the requests come
 * over a socket that it has sent.  One tree a connection; it goes with that.  A runner that cannot
 * mount it fetches a snapshot of it.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/trash.h"
#include "join/host_private.h"
#include "sysfs/snapshot.h"
#include "sysfs/sysfs.h"

#define MAX_LINKS 4096u

/* How long a write waits for the runner to have looked. */
#define LOOK_MS 1000

struct host_sysfs {
	struct sysfs *sysfs;
	int notify;
	pthread_mutex_t lock; /* over telling it */
	bool deaf;            /* it has not answered: it is not waited for any more */
	struct sysfs_link links[MAX_LINKS];
	unsigned nr_links;
	char text[JOIN_DATA + 1]; /* of the links: names and targets by turns, each with its 0 */
};

static void take_links(struct host_sysfs *s, const uint8_t *data, size_t len)
{
	char *at = s->text, *end = s->text + len;

	memcpy(s->text, data, len);
	while (at < end && s->nr_links < MAX_LINKS) {
		char *target = at + strlen(at) + 1;

		if (target >= end)
			break;
		/* A name that is none would be a path. */
		if (*at && !strchr(at, '/') && strlen(at) < 256)
			s->links[s->nr_links++] = (struct sysfs_link){at, target};
		at = target + strlen(target) + 1;
	}
}

/* In a thread of the tree's, which may wait. */
static void tell(void *arg)
{
	struct host_sysfs *s = arg;
	struct pollfd fd = {s->notify, POLLIN, 0};
	uint8_t byte = 0;

	pthread_mutex_lock(&s->lock);
	if (s->notify >= 0 && !s->deaf)
		s->deaf = send(s->notify, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1 ||
			  poll(&fd, 1, LOOK_MS) != 1 ||
			  recv(s->notify, &byte, 1, MSG_DONTWAIT) != 1;
	pthread_mutex_unlock(&s->lock);
}

int host_sysfs_new(struct connection *connection, int sock, int notify, gid_t gid,
		   const uint8_t *links, size_t len, struct host_sysfs **out)
{
	struct host_sysfs *s = calloc(1, sizeof(*s));
	struct sysfs_config config = {
		.machine = connection->host->machine,
		.log = connection->host->log,
		.subdir = TREE_SUBDIR,
		.uid = (uid_t)connection->who.uid,
		.gid = gid,
		.changed = tell,
		.changed_arg = s,
	};
	struct uvfio_error err;
	int ret = -ENOMEM;

	if (s) {
		s->notify = notify;
		pthread_mutex_init(&s->lock, NULL);
		take_links(s, links, len);
		config.links = s->links;
		config.nr_links = s->nr_links;
		s->sysfs = sysfs_new(&config, &err);
		if (!s->sysfs && !sysfs_built())
			ret = -ENOSYS;
	}
	if (!s || !s->sysfs) {
		uvfio_trash_close(connection->trash, sock);
		if (notify >= 0)
			uvfio_trash_close(connection->trash, notify);
		free(s);
		return ret;
	}
	ret = sysfs_serve(s->sysfs, sock, &err);
	if (ret) {
		host_sysfs_free(s);
		return ret;
	}
	*out = s;
	return 0;
}

void host_sysfs_free(struct host_sysfs *s)
{
	if (s->notify >= 0)
		shutdown(s->notify, SHUT_RDWR); /* who waits for it does not any more */
	sysfs_free(s->sysfs);
	if (s->notify >= 0)
		close(s->notify);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

enum sysfs_file host_sysfs_identify(struct host_sysfs *s, uint64_t ino, char device[16],
				    unsigned *bar)
{
	return sysfs_identify(s->sysfs, ino, device, bar);
}

int64_t host_snapshot(struct connection *connection, uint64_t offset, uint8_t *out, size_t *len)
{
	uint8_t *data = NULL, *old = NULL;
	size_t size = 0;
	int64_t ret = -EINVAL;

	if (!offset) {
		ret = sysfs_snapshot(connection->host->machine, &data, &size);
		if (ret)
			return ret;
	}
	pthread_mutex_lock(&connection->lock);
	if (data) {
		old = connection->snapshot;
		connection->snapshot = data;
		connection->snapshot_len = size;
	}
	if (connection->snapshot && offset < connection->snapshot_len) {
		size = connection->snapshot_len - offset;
		*len = size < JOIN_DATA ? size : JOIN_DATA;
		memcpy(out, connection->snapshot + offset, *len);
		ret = (int64_t)connection->snapshot_len;
		if (*len == size) {
			free(connection->snapshot);
			connection->snapshot = NULL;
		}
	}
	pthread_mutex_unlock(&connection->lock);
	free(old);
	return ret;
}
