/* SPDX-License-Identifier: BSD-3-Clause */
/* A vfio-user connection: calls, the reader role, the connection's thread.  See vu.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "base/guard.h"
#include "base/thread.h"
#include "driver/vu.h"

/* ---- sending ---- */

int vu_send(struct vu_conn *c, int fd, struct iovec *iov, int nr, const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(VFIO_USER_MAX_FDS * sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)nr};
	int ret = 0;

	if (nr_fds) {
		struct cmsghdr *cmsg;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nr_fds * sizeof(int));
	}
	pthread_mutex_lock(&c->send_lock);
	while (msg.msg_iovlen) {
		ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			/* A bad descriptor among those to pass is the caller's mistake, and
			 * nothing was sent; everything else ends the connection. */
			ret = errno == EBADF && msg.msg_controllen       ? -EBADF
			      : errno == EAGAIN || errno == EWOULDBLOCK  ? -ETIMEDOUT
			      : errno == EMFILE || errno == ETOOMANYREFS ? -errno
									 : -ENOTCONN;
			break;
		}
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
		while (msg.msg_iovlen && (size_t)n >= msg.msg_iov->iov_len) {
			n -= (ssize_t)msg.msg_iov->iov_len;
			msg.msg_iov++;
			msg.msg_iovlen--;
		}
		if (msg.msg_iovlen) {
			msg.msg_iov->iov_base = (char *)msg.msg_iov->iov_base + n;
			msg.msg_iov->iov_len -= (size_t)n;
		}
	}
	pthread_mutex_unlock(&c->send_lock);
	return ret;
}

static int send_command(struct vu_conn *c, const struct vu_call *call, uint16_t id, uint32_t flags)
{
	struct vfio_user_header h = {
		.id = id,
		.command = call->command,
		.size = (uint32_t)(sizeof(h) + call->head_len + call->data_len),
		.flags = VFIO_USER_TYPE_COMMAND | flags,
	};
	struct iovec iov[3] = {{.iov_base = &h, .iov_len = sizeof(h)}};
	int nr = 1;

	if (call->head_len)
		iov[nr++] = (struct iovec){(void *)call->head, call->head_len};
	if (call->data_len)
		iov[nr++] = (struct iovec){(void *)call->data, call->data_len};
	return vu_send(c, c->main.fd, iov, nr, call->fds, call->nr_fds);
}

/* ---- the end ---- */

/* [lock held] */
static void die_locked(struct vu_conn *c, int error)
{
	uint64_t one = 1;

	if (atomic_load(&c->dead))
		return;
	atomic_store(&c->dead, error);
	shutdown(c->main.fd, SHUT_RDWR);
	if (c->twin.fd >= 0)
		shutdown(c->twin.fd, SHUT_RDWR);
	for (unsigned i = 0; i < VU_CALLS; i++)
		if (c->calls[i])
			pthread_cond_signal(&c->calls[i]->wake);
	pthread_cond_broadcast(&c->room);
	pthread_cond_broadcast(&c->role_free);
	(void)!write(c->lost_fd, &one, sizeof(one));
	(void)!write(c->wake_fd, &one, sizeof(one));
}

void vu_die(struct vu_conn *c, int error)
{
	pthread_mutex_lock(&c->lock);
	die_locked(c, error);
	pthread_mutex_unlock(&c->lock);
}

/* ---- receiving: the reader role ---- */

/* [lock held] The reply of a call is in c->main: hand it over. */
static int hand_over(struct vu_conn *c, const struct vfio_user_header *h)
{
	struct vu_call *call = c->calls[h->id % VU_CALLS];
	const uint8_t *payload = c->main.buf + sizeof(*h);
	size_t len = h->size - sizeof(*h), first;

	if (!call || call->done || call->id != h->id || call->command != h->command)
		return -EPROTO;
	if (h->flags & VFIO_USER_ERROR) {
		call->status = h->error && h->error < 4096 ? -(int)h->error : -EIO;
	} else {
		if (len > call->reply_len + call->reply_data_len)
			return -EPROTO;
		first = len < call->reply_len ? len : call->reply_len;
		if (first)
			memcpy(call->reply, payload, first);
		if (len > first)
			memcpy(call->reply_data, payload + first, len - first);
		call->got = len;
		call->status = 0;
		if (call->reply_fds) {
			memcpy(call->reply_fds, c->main.fds, c->main.nr_fds * sizeof(int));
			call->got_fds = c->main.nr_fds;
			c->main.nr_fds = 0;
		}
	}
	call->done = true;
	pthread_cond_signal(&call->wake);
	return 0;
}

/* [role] Receive one message and deal with it. */
static int receive(struct vu_conn *c, size_t hint)
{
	struct vfio_user_header h;
	int ret = vu_stream_receive(&c->main, hint, &h);

	if (ret)
		return ret;
	if (h.flags & ~VFIO_USER_FLAGS_KNOWN) {
		ret = -EPROTO;
	} else if (vfio_user_is_reply(&h)) {
		pthread_mutex_lock(&c->lock);
		ret = hand_over(c, &h);
		pthread_mutex_unlock(&c->lock);
	} else if ((h.flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_COMMAND) {
		ret = vu_answer(c, c->main.fd, &h, c->main.buf + sizeof(h), h.size - sizeof(h));
	} else {
		ret = -EPROTO;
	}
	vu_stream_next(&c->main, &h);
	return ret;
}

/* [lock held] The role is free: the connection's thread wants it, or one who sleeps takes it.  Who
 * is still sending is not woken by a signal, and may be held up for as long as nobody reads, or
 * never wait at all.  When it does wait, it sees whether the role is free. */
static void pass_role(struct vu_conn *c)
{
	c->reading = false;
	if (c->resident) {
		pthread_cond_signal(&c->role_free);
		return;
	}
	for (unsigned i = 0; i < VU_CALLS && c->in_flight > 1; i++) {
		if (c->calls[i] && c->calls[i]->asleep && !c->calls[i]->done) {
			pthread_cond_signal(&c->calls[i]->wake);
			return;
		}
	}
}

static struct timespec after(unsigned seconds)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += seconds;
	return t;
}

static bool passed(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

/* [lock held] Wait until @call is done or the connection is dead. */
static void await(struct vu_conn *c, struct vu_call *call)
{
	struct timespec deadline = after(c->timeout);

	while (!call->done && !atomic_load(&c->dead)) {
		if (!c->reading && !c->resident) {
			/* Alone, a reply of known length is taken in one go. */
			size_t hint = sizeof(struct vfio_user_header);
			int ret;

			if (c->in_flight == 1)
				hint += call->reply_len + call->reply_data_len;
			c->reading = true;
			pthread_mutex_unlock(&c->lock);
			ret = receive(c, hint);
			pthread_mutex_lock(&c->lock);
			if (ret)
				die_locked(c, ret);
			pass_role(c);
		} else {
			call->asleep = true;
			if (!c->timeout)
				pthread_cond_wait(&call->wake, &c->lock);
			else
				pthread_cond_timedwait(&call->wake, &c->lock, &deadline);
			call->asleep = false;
		}
		if (!call->done && c->timeout && passed(&deadline))
			die_locked(c, -ETIMEDOUT);
	}
}

/* ---- calls ---- */

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* [lock held] A place for @call. */
static int enter(struct vu_conn *c, struct vu_call *call)
{
	unsigned i;

	while (c->in_flight == VU_CALLS && !atomic_load(&c->dead))
		pthread_cond_wait(&c->room, &c->lock);
	if (atomic_load(&c->dead))
		return -ENOTCONN;
	for (i = 0; c->calls[i]; i++)
		;
	c->calls[i] = call;
	c->in_flight++;
	call->id = (uint16_t)(c->generation++ * VU_CALLS + i);
	return 0;
}

/* [lock held] Nobody answers it any more. */
static void leave(struct vu_conn *c, struct vu_call *call)
{
	c->calls[call->id % VU_CALLS] = NULL;
	c->in_flight--;
	pthread_cond_signal(&c->room);
}

int vu_begin(struct vu_conn *c, struct vu_call *call)
{
	int ret;

	call->done = call->asleep = false;
	call->got = 0;
	call->got_fds = 0;
	call->status = 0;
	pthread_mutex_lock(&c->lock);
	init_cond(&call->wake);
	ret = enter(c, call);
	pthread_mutex_unlock(&c->lock);
	if (!ret) {
		ret = send_command(c, call, call->id, 0);
		if (!ret)
			return 0;
		pthread_mutex_lock(&c->lock);
		if (ret == -ENOTCONN || ret == -ETIMEDOUT)
			die_locked(c, ret);
		leave(c, call);
		pthread_mutex_unlock(&c->lock);
	}
	pthread_cond_destroy(&call->wake);
	return ret;
}

int vu_end(struct vu_conn *c, struct vu_call *call)
{
	int ret;

	pthread_mutex_lock(&c->lock);
	await(c, call);
	ret = call->done ? call->status : atomic_load(&c->dead);
	leave(c, call);
	pthread_mutex_unlock(&c->lock);
	pthread_cond_destroy(&call->wake);
	return ret;
}

int vu_call(struct vu_conn *c, struct vu_call *call)
{
	int ret = vu_begin(c, call);

	return ret ? ret : vu_end(c, call);
}

int vu_post(struct vu_conn *c, const struct vu_call *call)
{
	int ret;

	if (atomic_load(&c->dead))
		return -ENOTCONN;
	ret = send_command(c, call, 0, VFIO_USER_NO_REPLY);
	if (ret)
		vu_die(c, ret);
	return ret;
}

/* ---- the connection's thread ---- */

void vu_stay(struct vu_conn *c)
{
	uint64_t one = 1;

	pthread_mutex_lock(&c->lock);
	if (!c->resident && c->twin.fd < 0) {
		c->resident = true;
		(void)!write(c->wake_fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&c->lock);
}

static int serve_twin(struct vu_conn *c)
{
	struct vfio_user_header h;
	int ret = vu_stream_receive(&c->twin, sizeof(h), &h);

	if (ret)
		return ret;
	if ((h.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
		ret = -EPROTO;
	else
		ret = vu_answer(c, c->twin.fd, &h, c->twin.buf + sizeof(h), h.size - sizeof(h));
	vu_stream_next(&c->twin, &h);
	return ret;
}

/* [lock held] Should the thread go on?  Takes the role when it is to stay with it. */
static bool go_on(struct vu_conn *c, bool *mine)
{
	while (c->resident && !*mine && !c->quit && !atomic_load(&c->dead)) {
		if (!c->reading)
			c->reading = *mine = true;
		else
			pthread_cond_wait(&c->role_free, &c->lock);
	}
	return !c->quit && !atomic_load(&c->dead);
}

static void *thread_main(void *arg)
{
	struct vu_conn *c = arg;
	bool mine = false;

	pthread_mutex_lock(&c->lock);
	while (go_on(c, &mine)) {
		struct pollfd p[3] = {
			{.fd = c->wake_fd, .events = POLLIN},
			{.fd = c->main.fd, .events = POLLRDHUP | (mine ? POLLIN : 0)},
			{.fd = c->twin.fd, .events = POLLIN},
		};
		uint64_t count;
		int ret = 0;

		pthread_mutex_unlock(&c->lock);
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			ret = -ENOTCONN;
		if (p[0].revents)
			(void)!read(c->wake_fd, &count, sizeof(count));
		/* A timeout here is the middle of a message. */
		if (!ret && p[2].revents)
			ret = serve_twin(c);
		if (!ret && p[1].revents & POLLIN && mine)
			ret = receive(c, sizeof(struct vfio_user_header));
		else if (!ret && p[1].revents & (POLLRDHUP | POLLHUP | POLLERR))
			ret = -ENOTCONN;
		pthread_mutex_lock(&c->lock);
		if (ret)
			die_locked(c, ret);
	}
	if (mine)
		c->reading = false;
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static int start_thread(struct vu_conn *c)
{
	int ret;

	ret = -uvfio_thread_create(&c->thread, NULL, thread_main, c);
	c->has_thread = !ret;
	return ret;
}

/* ---- connect ---- */

static void set_timeout(int fd, unsigned timeout)
{
	struct timeval tv = {.tv_sec = timeout}; /* 0 is "for ever", as in our option */

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

/* "fd:NUMBER": a connected socket, which is ours from now on. */
static int take_socket(const char *name, unsigned timeout, struct uvfio_error *err)
{
	int fd = atoi(name + strlen("fd:")), type = 0, flags = fcntl(fd, F_GETFL);
	socklen_t len = sizeof(type);

	if (flags < 0)
		return uvfio_error_set(err, -EBADF, "%s: there is no such descriptor", name);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM)
		return uvfio_error_set(err, -ENOTSOCK,
				       "%s: not a stream socket; it is left as it is", name);
	/* It may have come by exec(2), from a program that had it non-blocking. */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK)) {
		int ret = -errno;

		close(fd);
		return uvfio_error_set(err, ret, "%s: %s", name, strerror(-ret));
	}
	set_timeout(fd, timeout);
	return fd;
}

static int connect_socket(const char *path, unsigned timeout, struct uvfio_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, ret;

	if (strlen(path) >= sizeof(addr.sun_path))
		return uvfio_error_set(err, -ENAMETOOLONG,
				       "%s: a socket's path has at most %zu characters", path,
				       sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return uvfio_error_set(err, -errno, "making a socket: %s", strerror(errno));
	set_timeout(fd, timeout);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		ret = -errno;
		close(fd);
		if (ret == -ENOENT || ret == -ECONNREFUSED)
			return uvfio_error_set(err, ret,
					       "%s: nobody serves this socket%s; start the server "
					       "(uvfio serve --device …,socket=%s)",
					       path, ret == -ENOENT ? " (it does not exist)" : "",
					       path);
		return uvfio_error_set(err, ret, "%s: connecting: %s", path, strerror(-ret));
	}
	return fd;
}

static int handshake(struct vu_conn *c, const char *path, bool twin, struct uvfio_error *err)
{
	int fds[VFIO_USER_MAX_FDS], ret;
	char request[512], reply[4096];
	struct uvfio_error why = {""};
	struct vu_call call = {
		.command = VFIO_USER_VERSION,
		.head = request,
		/* Not at the first time: what is there may be another's. */
		.head_len = vu_version_request(request, sizeof(request), twin,
					       c->dev->opt.go_on && c->dev->opened),
		.reply = reply,
		.reply_len = sizeof(reply),
		.reply_fds = fds,
	};

	ret = vu_call(c, &call);
	if (ret)
		return uvfio_error_set(err, ret == -ENOTCONN ? -ENOTCONN : ret,
				       "%s: the server ended the handshake: %s", path,
				       strerror(-ret));
	ret = vu_version_parse((uint8_t *)reply, call.got, twin, &c->limits, &why);
	if (!ret && c->limits.twin >= (int)call.got_fds)
		ret = uvfio_error_set(
			&why, -EPROTO,
			"the server has a twin socket, but sent no descriptor for it");
	if (!ret && c->limits.twin >= 0) {
		c->twin.fd = fds[c->limits.twin];
		fds[c->limits.twin] = -1;
	}
	for (unsigned i = 0; i < call.got_fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (ret)
		return uvfio_error_set(err, ret, "%s: %s", path, why.msg);
	return 0;
}

int vu_connect(struct uvfio_pci *dev, const char *path, int lost_fd, struct vu_conn **out,
	       struct uvfio_error *err)
{
	struct vu_conn *c = calloc(1, sizeof(*c));
	const char *peer = path ? path : dev->name;
	int ret;

	if (!c)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	c->dev = dev;
	c->timeout = dev->opt.timeout;
	c->lost_fd = -1; /* not before the handshake is through */
	c->twin.fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->send_lock, NULL);
	pthread_cond_init(&c->room, NULL);
	pthread_cond_init(&c->role_free, NULL);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->main.timeout = c->twin.timeout = c->timeout;
	c->main.fd = path ? connect_socket(path, c->timeout, err)
			  : take_socket(dev->name, c->timeout, err);
	ret = c->main.fd < 0 ? c->main.fd : 0;
	if (!ret && c->wake_fd < 0)
		ret = uvfio_error_set(err, -EMFILE, "making an eventfd");
	if (!ret)
		ret = uvfio_guard_init();
	if (!ret)
		ret = handshake(c, peer, dev->opt.twin, err);
	c->lost_fd = lost_fd;
	if (!ret && c->twin.fd >= 0)
		set_timeout(c->twin.fd, c->timeout);
	if (!ret) {
		ret = start_thread(c);
		if (ret)
			uvfio_error_set(err, ret, "starting a thread: %s", strerror(-ret));
	}
	if (ret) {
		vu_disconnect(c);
		return ret;
	}
	*out = c;
	return 0;
}

void vu_disconnect(struct vu_conn *c)
{
	uint64_t one = 1;

	if (c->has_thread) {
		pthread_mutex_lock(&c->lock);
		c->quit = true;
		(void)!write(c->wake_fd, &one, sizeof(one));
		pthread_cond_broadcast(&c->role_free);
		/* It may be in the middle of a message. */
		shutdown(c->main.fd, SHUT_RDWR);
		if (c->twin.fd >= 0)
			shutdown(c->twin.fd, SHUT_RDWR);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->thread, NULL);
	}
	vu_stream_fini(&c->main);
	vu_stream_fini(&c->twin);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_cond_destroy(&c->room);
	pthread_cond_destroy(&c->role_free);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->send_lock);
	free(c);
}
