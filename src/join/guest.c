/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels of a runner, its beginning and its end.  See guest.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "join/guest_private.h"

#define KEEP_IDLE 8u

/* ---- channels ---- */

static struct line *line_new(int sock)
{
	struct line *line = malloc(sizeof(*line));

	if (!line)
		return NULL;
	line->next = NULL;
	line->sock = sock;
	line->in.head.fds = 0;
	line->in.trash = NULL; /* the server's are closed at once */
	return line;
}

static void line_free(struct line *line)
{
	join_packet_close(&line->in);
	close(line->sock);
	free(line);
}

/* Another channel, by the first one. */
static struct line *line_open(struct guest *guest)
{
	const struct join_head head = {.kind = JOIN_CHANNEL};
	struct line *line = NULL;
	int pair[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return NULL;
	pthread_mutex_lock(&guest->first_lock);
	ret = line_call(guest->first_line, NULL, &head, NULL, 0, &pair[1], 1);
	if (!ret)
		ret = (int)guest->first_line->in.head.value;
	pthread_mutex_unlock(&guest->first_lock);
	close(pair[1]);
	if (!ret)
		line = line_new(pair[0]);
	if (!line)
		close(pair[0]);
	return line;
}

struct line *line_take(struct guest *guest)
{
	struct line *line;

	pthread_mutex_lock(&guest->lock);
	for (;;) {
		if (atomic_load(&guest->gone)) {
			pthread_mutex_unlock(&guest->lock);
			return NULL;
		}
		line = guest->idle;
		if (line) {
			guest->idle = line->next;
			guest->nr_idle--;
			pthread_mutex_unlock(&guest->lock);
			return line;
		}
		if (guest->nr_lines < JOIN_CHANNELS - 1)
			break;
		pthread_cond_wait(&guest->freed, &guest->lock);
	}
	guest->nr_lines++;
	pthread_mutex_unlock(&guest->lock);
	line = line_open(guest);
	if (line)
		return line;
	pthread_mutex_lock(&guest->lock);
	guest->nr_lines--;
	/* The server, or this process, may have reached a limit: then wait for one of ours. */
	while (!atomic_load(&guest->gone) && !guest->idle && guest->nr_lines)
		pthread_cond_wait(&guest->freed, &guest->lock);
	line = atomic_load(&guest->gone) ? NULL : guest->idle;
	if (line) {
		guest->idle = line->next;
		guest->nr_idle--;
	}
	pthread_cond_signal(&guest->freed);
	pthread_mutex_unlock(&guest->lock);
	return line;
}

/* Has the server ended?  Then mapped registers answer SIGBUS before anybody is told of it. */
static void look_for_end(struct guest *guest)
{
	struct pollfd fd = {.fd = guest->first};
	struct handle *handle;

	if (poll(&fd, 1, 0) <= 0)
		return;
	pthread_mutex_lock(&guest->lock);
	atomic_store(&guest->gone, true);
	LIST_FOREACH(handle, &guest->views, next)
	{
		if (ftruncate(handle->view, 0)) { /* then its registers stand still */
		}
	}
	pthread_cond_broadcast(&guest->freed);
	pthread_mutex_unlock(&guest->lock);
}

void line_put(struct guest *guest, struct line *line, bool broken)
{
	if (broken)
		look_for_end(guest);
	join_packet_close(&line->in);
	pthread_mutex_lock(&guest->lock);
	if (!broken && guest->nr_idle < KEEP_IDLE) {
		line->next = guest->idle;
		guest->idle = line;
		guest->nr_idle++;
		line = NULL;
	} else {
		guest->nr_lines--;
	}
	pthread_cond_signal(&guest->freed);
	pthread_mutex_unlock(&guest->lock);
	if (line)
		line_free(line);
}

/* ---- the end of the server ---- */

static void *watch(void *arg)
{
	struct guest *guest = arg;
	struct pollfd fd = {.fd = guest->first};

	pthread_setname_np(pthread_self(), "join-watch");
	while (poll(&fd, 1, -1) <= 0) /* no events asked for: its end */
		;
	if (!atomic_load(&guest->ending))
		uvfio_log(guest->log, UVFIO_LOG_ERROR,
			  "the server of the machine %s has ended: its devices are gone, and what "
			  "the program asks of them is answered with EIO",
			  guest->name);
	look_for_end(guest);
	return NULL;
}

/* ---- beginning and end ---- */

static void free_parts(struct guest *guest)
{
	while (guest->idle) {
		struct line *line = guest->idle;

		guest->idle = line->next;
		line_free(line);
	}
	if (guest->first_line) {
		join_packet_close(&guest->first_line->in);
		free(guest->first_line);
	}
	pthread_mutex_destroy(&guest->first_lock);
	pthread_mutex_destroy(&guest->lock);
	pthread_cond_destroy(&guest->freed);
	uapi_later_free(&guest->core);
	free(guest->devices);
	free(guest);
}

void guest_free(struct uapi_core *core)
{
	struct guest *guest = (struct guest *)core;

	atomic_store(&guest->ending, true);
	shutdown(guest->first, SHUT_RDWR);
	pthread_join(guest->watcher, NULL);
	close(guest->first);
	free_parts(guest);
}

/* What the server says of its machine, looked at. */
static int take_hello(struct guest *guest, struct uvfio_error *err)
{
	const struct join_head head = {.kind = JOIN_HELLO, .arg = {JOIN_VERSION}};
	const struct join_packet *in = &guest->first_line->in;

	if (line_call(guest->first_line, NULL, &head, NULL, 0, NULL, 0))
		return uvfio_error_set(err, -EIO, "the server of %s has ended the connection",
				       guest->name);
	if (in->head.value || in->head.len < sizeof(guest->hello))
		return uvfio_error_set(
			err, -EPROTO,
			"the server of %s is another version of uvfio: start it anew, "
			"or use its version here",
			guest->name);
	memcpy(&guest->hello, in->data, sizeof(guest->hello));
	if (guest->hello.version != JOIN_VERSION || in->head.len != sizeof(guest->hello))
		return uvfio_error_set(err, -EPROTO, "the server of %s does not make sense",
				       guest->name);
	return 0;
}

/* All that there are now. */
static int take_devices(struct guest *guest, struct uvfio_error *err)
{
	struct uapi_device *grown;
	unsigned stamp;
	int n;

	for (;;) {
		grown = realloc(guest->devices,
				(guest->nr_devices + JOIN_LISTED) * sizeof(*guest->devices));
		if (!grown)
			return uvfio_error_set(err, -ENOMEM, "out of memory");
		guest->devices = grown;
		n = guest_list_on(guest->first_line, guest->nr_devices, grown + guest->nr_devices,
				  JOIN_LISTED, &stamp);
		if (n < 0)
			return uvfio_error_set(err, n, "the server of %s does not make sense",
					       guest->name);
		if (!n)
			return 0;
		guest->nr_devices += (unsigned)n;
		if (guest->nr_devices > JOIN_MAX_DEVICES)
			return uvfio_error_set(
				err, -E2BIG,
				"%s has more than the %u devices that can be shown to a program",
				guest->name, JOIN_MAX_DEVICES);
	}
}

struct uapi_core *join_guest_new(int sock, const char *name, struct uvfio_log *log,
				 struct uvfio_error *err)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	int ret;

	if (!guest) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	guest->log = log;
	guest->name = name;
	guest->first = sock;
	LIST_INIT(&guest->views);
	pthread_mutex_init(&guest->first_lock, NULL);
	pthread_mutex_init(&guest->lock, NULL);
	pthread_cond_init(&guest->freed, NULL);
	guest->first_line = line_new(sock);
	ret = guest->first_line ? take_hello(guest, err)
				: uvfio_error_set(err, -ENOMEM, "out of memory");
	guest->core = (struct uapi_core){
		.ops = &join_guest_ops,
		.policy = &guest->hello.policy,
		.max_calls = JOIN_CHANNELS - 28, /* the rest is for what never is put aside */
	};
	if (!ret)
		ret = take_devices(guest, err);
	if (!ret && !uapi_later_init(&guest->core))
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	if (!ret) {
		ret = -pthread_create(&guest->watcher, NULL, watch, guest);
		if (ret)
			uvfio_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	}
	if (ret) {
		free_parts(guest);
		return NULL;
	}
	guest->core.devices = guest->devices;
	guest->core.nr_devices = guest->nr_devices;
	guest->core.uio_first = guest->hello.uio_first;
	return &guest->core;
}
