/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "sysfs/sysfs.h"
#include "uapi/pump.h"
#include "uapi/served.h"
#include "uapi/tree.h"

#define MAX_LINKS 65536u

struct uapi_served {
	struct uapi_core *core;
	struct sysfs *sysfs; /* NULL: another process's */
	int sock;            /* to the pump then, to end it; else -1 */
	pid_t pump;          /* 0: none */
	struct sysfs_link *links;
	unsigned nr_links;
	/* Of a machine that somebody else has: what it tells us by, and who listens. */
	int notify; /* -1: none */
	pthread_t listener;
	pthread_mutex_t lock; /* over a call of what follows */
	void (*changed)(void *arg);
	void *changed_arg;
};

static void on_change(void *arg)
{
	struct uapi_served *s = arg;

	pthread_mutex_lock(&s->lock);
	if (s->changed)
		s->changed(s->changed_arg);
	pthread_mutex_unlock(&s->lock);
}

/* A byte when devices came or went; one back when that has been seen. */
static void *listen_to(void *arg)
{
	struct uapi_served *s = arg;
	uint8_t byte;

	while (recv(s->notify, &byte, 1, 0) == 1) {
		on_change(s);
		if (send(s->notify, &byte, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	return NULL;
}

/* Have the core serve the tree on @sock.  0 or -errno. */
static int serve_elsewhere(struct uapi_served *s, int sock)
{
	int pair[2], ret;

	s->sock = fcntl(sock, F_DUPFD_CLOEXEC, 3);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		ret = -errno;
		close(sock);
		return ret;
	}
	ret = s->core->ops->sysfs_serve(s->core, sock, pair[1], s->links, s->nr_links);
	s->notify = pair[0];
	if (!ret)
		ret = -pthread_create(&s->listener, NULL, listen_to, s);
	if (!ret)
		return 0;
	close(pair[0]);
	s->notify = -1;
	return ret;
}

void uapi_served_tell(struct uapi_served *s, void (*changed)(void *arg), void *arg)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->changed = changed;
	s->changed_arg = arg;
	pthread_mutex_unlock(&s->lock);
}

/* The real machine's devices stay beside ours.  What there is no memory for is left out. */
static void take_links(struct uapi_served *s, const struct uapi_core *core)
{
	static const char path[] = "/sys/bus/pci/devices";
	struct sysfs_link *links;
	struct dirent *entry;
	char target[PATH_MAX];
	DIR *dir = opendir(path);
	ssize_t n;

	while (dir && (entry = readdir(dir)) && s->nr_links < MAX_LINKS) {
		n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (uapi_core_find(core, entry->d_name)) {
			fprintf(stderr,
				"uvfio run: %s/%s of this machine is hidden from the program by the "
				"device of the same name (choose another with addr=)\n",
				path, entry->d_name);
			continue;
		}
		links = realloc(s->links, (s->nr_links + 1) * sizeof(*links));
		if (!links)
			break;
		s->links = links;
		links[s->nr_links] = (struct sysfs_link){strdup(entry->d_name), strdup(target)};
		if (!links[s->nr_links].name || !links[s->nr_links].target) {
			free(links[s->nr_links].name);
			free(links[s->nr_links].target);
			break;
		}
		s->nr_links++;
	}
	if (dir)
		closedir(dir);
}

unsigned uapi_first_uio(void)
{
	unsigned first = 0, n;
	struct dirent *entry;
	DIR *dir = opendir("/sys/class/uio");

	while (dir && (entry = readdir(dir)))
		if (sscanf(entry->d_name, "uio%u", &n) == 1 && n >= first && n < 1u << 20)
			first = n + 1;
	if (dir)
		closedir(dir);
	return first;
}

struct uapi_served *uapi_served_new(struct uapi_core *core, struct uvfio_log *log, int fuse,
				    struct uvfio_error *err)
{
	struct sysfs_config config = {
		.machine = core->machine,
		.log = log,
		.subdir = TREE_SUBDIR,
		.uid = geteuid(),
		.gid = getegid(),
	};
	struct uapi_served *s = calloc(1, sizeof(*s));
	int sock, ret;

	if (!s) {
		close(fuse);
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	config.changed = on_change;
	config.changed_arg = s;
	take_links(s, core);
	s->core = core;
	s->sock = s->notify = -1;
	config.links = s->links;
	config.nr_links = s->nr_links;
	if (core->machine) {
		s->sysfs = sysfs_new(&config, err);
		if (!s->sysfs) {
			close(fuse);
			goto fail;
		}
	}
	ret = uapi_pump_start(fuse, &sock, &s->pump);
	if (ret) {
		s->pump = 0;
		uvfio_error_set(err, ret, "cannot start a process: %s", strerror(-ret));
		goto fail;
	}
	if (s->sysfs) {
		ret = sysfs_serve(s->sysfs, sock, err);
	} else {
		ret = serve_elsewhere(s, sock);
		if (ret)
			uvfio_error_set(err, ret, "the server of the machine cannot serve it: %s",
					strerror(-ret));
	}
	if (!ret)
		return s;
fail:
	uapi_served_free(s);
	return NULL;
}

enum sysfs_file uapi_served_identify(struct uapi_served *s, uint64_t ino,
				     const struct uapi_device **device, unsigned *bar)
{
	enum sysfs_file what;
	char name[16] = "";

	if (!s->sysfs)
		return s->core->ops->sysfs_identify(s->core, ino, device, bar);
	what = sysfs_identify(s->sysfs, ino, name, bar);
	*device = name[0] ? uapi_core_now(s->core, name) : NULL;
	return what;
}

void uapi_served_free(struct uapi_served *s)
{
	if (!s)
		return;
	sysfs_free(s->sysfs); /* and with it the pump's socket */
	if (s->sock >= 0) {
		shutdown(s->sock, SHUT_RDWR);
		close(s->sock);
	}
	if (s->notify >= 0) {
		shutdown(s->notify, SHUT_RDWR);
		pthread_join(s->listener, NULL);
		close(s->notify);
	}
	if (s->pump)
		waitpid(s->pump, NULL, 0); /* ECHILD: it ended before */
	for (unsigned i = 0; i < s->nr_links; i++) {
		free(s->links[i].name);
		free(s->links[i].target);
	}
	free(s->links);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
