/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that serves the file system, and its beginning and end.
 *
 * It rests while another process takes its place (sysfs_hold()).  That one has the file system's
 * first request told again, whose answer goes nowhere: it is what libfuse begins with, and the file
 * system has had its answer.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"
#include "sysfs/check.h"
#include "sysfs/functions.h"
#include "sysfs/fuse.h"
#include "sysfs/jobs.h"
#include "sysfs/uio_files.h"

struct sysfs_fuse {
	struct fuse_session *session;
	pthread_t thread;
	int wake; /* eventfd: end, or look at uio */
	atomic_bool ending;
	/* What it began with: of the thread, and who holds it. */
	uint8_t init[SYSFS_INIT_BYTES];
	size_t init_len;
	bool again; /* it is told again; before there is a thread */
	/* Under sysfs->lock. */
	bool hold, rests, over;
};

static void note_init(struct sysfs_fuse *fuse, const void *request, size_t len)
{
	struct fuse_in_header head;

	memcpy(&head, request, sizeof(head));
	if (head.opcode != FUSE_INIT || len > sizeof(fuse->init))
		return;
	memcpy(fuse->init, request, len);
	fuse->init_len = len;
}

/* The end of a socket is the end of the file system, as ENODEV of /dev/fuse is. */
static ssize_t take(int fd, void *buf, size_t len, void *arg)
{
	const struct sysfs *fs = arg;
	ssize_t n = read(fd, buf, len);

	if (n == 0 || (n < 0 && errno == ECONNRESET)) {
		errno = ENODEV;
		n = -1;
	}
	if (n > 0 && !sysfs_request_ok(buf, (size_t)n)) {
		errno = EPROTO;
		n = -1;
	}
	if (n > 0)
		note_init(fs->fuse, buf, (size_t)n);
	return n;
}

/* Until it is sent, or the door ends: who has the other end may never read, or has gone.  libfuse
 * does not complain of ENOENT, with which a kernel says that nobody waits for the answer. */
static ssize_t give_socket(const struct sysfs *fs, int fd, const struct msghdr *msg)
{
	for (;;) {
		struct pollfd fds[2] = {{fd, POLLOUT, 0}, {fs->fuse->wake, POLLIN, 0}};
		ssize_t n = sendmsg(fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			return n;
		if (errno == EPIPE || errno == ECONNRESET) {
			errno = ENOENT;
			return -1;
		}
		if (errno != EAGAIN)
			return -1;
		if (poll(fds, 2, -1) > 0 && fds[1].revents) {
			errno = ENOENT;
			return -1;
		}
	}
}

/* To /dev/fuse in one write(2): a confined server has no writev(2). */
static ssize_t give(int fd, struct iovec *iov, int count, void *arg)
{
	const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
	const struct sysfs *fs = arg;
	size_t len = 0;
	ssize_t n;
	char *all;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	if (fs->fuse->again)
		return (ssize_t)len;
	n = give_socket(fs, fd, &msg);
	if (n >= 0 || errno != ENOTSOCK)
		return n;
	all = malloc(len);
	if (!all) {
		errno = ENOMEM;
		return -1;
	}
	len = 0;
	for (int i = 0; i < count; i++) {
		memcpy(all + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	n = write(fd, all, len);
	free(all);
	return n;
}

/* Whether it is to; who waits for that is told. */
static bool rests(struct sysfs *fs, bool over)
{
	struct sysfs_fuse *fuse = fs->fuse;
	bool rests;

	pthread_mutex_lock(&fs->lock);
	rests = fuse->rests = fuse->hold;
	fuse->over |= over;
	pthread_cond_broadcast(&fs->changed_cond);
	pthread_mutex_unlock(&fs->lock);
	return rests;
}

static void *serve(void *arg)
{
	struct sysfs *fs = arg;
	struct fuse_session *session = fs->fuse->session;
	struct fuse_buf buf = {0};

	while (!fuse_session_exited(session)) {
		struct pollfd fds[2] = {
			{rests(fs, false) ? -1 : fuse_session_fd(session), POLLIN, 0},
			{fs->fuse->wake, POLLIN, 0}};
		int n;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (atomic_load(&fs->fuse->ending))
			break;
		if (fds[1].revents)
			uio_look(fs);
		if (!fds[0].revents)
			continue;
		n = fuse_session_receive_buf(session, &buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0) {
			/* Whoever speaks to a socket is not left waiting for answers. */
			shutdown(fuse_session_fd(session), SHUT_RDWR);
			break;
		}
		fuse_session_process_buf(session, &buf);
		sysfs_fuse_answer_interrupted(fs);
		uio_answer_interrupted(fs);
	}
	free(buf.mem);
	rests(fs, true);
	return NULL;
}

/* ---- for another process ---- */

int sysfs_hold(struct sysfs *fs, struct sysfs_handed *out, struct uvfio_error *err)
{
	struct sysfs_fuse *fuse = fs->fuse;
	int ret = 0;

	if (!fuse)
		return uvfio_error_set(err, -ENOTCONN, "--sysfs: nobody has mounted it");
	pthread_mutex_lock(&fs->lock);
	fuse->hold = true;
	eventfd_write(fuse->wake, 1);
	while (!fuse->rests && !fuse->over)
		pthread_cond_wait(&fs->changed_cond, &fs->lock);
	if (fuse->over || !fuse->init_len)
		ret = uvfio_error_set(err, -ENOTCONN, "--sysfs: it is not mounted any more");
	else if (fs->uio_files)
		ret = uvfio_error_set(err, -EBUSY,
				      "--sysfs: a program has a uio device open, which cannot be "
				      "handed over");
	else if (fs->nr_jobs)
		ret = uvfio_error_set(err, -EBUSY,
				      "--sysfs: %u calls of programs wait for what they have "
				      "written or read there; try again",
				      fs->nr_jobs);
	pthread_mutex_unlock(&fs->lock);
	if (ret) {
		sysfs_go_on(fs);
		return ret;
	}
	*out = (struct sysfs_handed){fuse_session_fd(fuse->session), fuse->init_len, {0}};
	memcpy(out->init, fuse->init, fuse->init_len);
	return 0;
}

void sysfs_go_on(struct sysfs *fs)
{
	if (!fs->fuse)
		return;
	pthread_mutex_lock(&fs->lock);
	fs->fuse->hold = false;
	pthread_mutex_unlock(&fs->lock);
	eventfd_write(fs->fuse->wake, 1);
}

bool sysfs_built(void)
{
	return true;
}

struct sysfs *sysfs_new(const struct sysfs_config *config, struct uvfio_error *err)
{
	struct sysfs *fs = calloc(1, sizeof(*fs));

	if (fs)
		fs->jobs = calloc(1, sizeof(*fs->jobs));
	if (!fs || !fs->jobs) {
		free(fs);
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	fs->config = *config;
	snprintf(fs->path, sizeof(fs->path), "devices%s%s", config->subdir ? "/" : "",
		 config->subdir ? config->subdir : "");
	fs->depth = config->subdir ? 2 : 1;
	fs->started = time(NULL);
	fs->uio = vfio_machine_policy(config->machine)->enable_uio;
	fs->autoprobe = true;
	LIST_INIT(fs->jobs);
	pthread_mutex_init(&fs->lock, NULL);
	pthread_cond_init(&fs->changed_cond, NULL);
	return fs;
}

/* What it began with, once more. */
static int begin_again(struct sysfs_fuse *fuse, const struct sysfs_handed *from,
		       struct uvfio_error *err)
{
	struct fuse_buf buf = {.mem = fuse->init, .size = from->len};
	struct fuse_in_header head;

	memcpy(fuse->init, from->init, sizeof(fuse->init));
	memcpy(&head, fuse->init, sizeof(head));
	if (from->len < sizeof(head) || from->len > sizeof(fuse->init) ||
	    head.opcode != FUSE_INIT || !sysfs_request_ok(fuse->init, from->len))
		return uvfio_error_set(err, -EINVAL,
				       "what was handed over of --sysfs is no file system's "
				       "beginning");
	fuse->init_len = from->len;
	fuse->hold = true;
	fuse->again = true;
	fuse_session_process_buf(fuse->session, &buf);
	fuse->again = false;
	return 0;
}

/* @from NULL: it begins now. */
static int start_session(struct sysfs *fs, int fd, const struct sysfs_handed *from,
			 struct uvfio_error *err)
{
	static const struct fuse_custom_io io = {.read = take, .writev = give};
	char name[] = "uvfio", *argv[] = {name, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct sysfs_fuse *fuse = calloc(1, sizeof(*fuse));
	int ret;

	if (!fuse) {
		close(fd);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	fuse->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fuse->session = fuse_session_new(&args, &sysfs_fuse_ops, sizeof(sysfs_fuse_ops), fs);
	fuse_opt_free_args(&args);
	if (fuse->wake < 0 || uio_files_init(fs, fuse->wake) || !fuse->session ||
	    fuse_session_custom_io(fuse->session, &io, fd)) {
		close(fd);
		ret = uvfio_error_set(err, -ENOMEM, "cannot make a FUSE session");
		goto fail;
	}
	fs->fuse = fuse;
	ret = from ? begin_again(fuse, from, err) : 0;
	if (!ret) {
		ret = -uvfio_thread_create(&fuse->thread, NULL, serve, fs);
		if (!ret)
			return 0;
		uvfio_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	}
	fs->fuse = NULL;
fail:
	if (fuse->session)
		fuse_session_destroy(fuse->session);
	uio_files_fini(fs);
	if (fuse->wake >= 0)
		close(fuse->wake);
	free(fuse);
	return ret;
}

int sysfs_serve(struct sysfs *fs, int fd, struct uvfio_error *err)
{
	return start_session(fs, fd, NULL, err);
}

int sysfs_continue(struct sysfs *fs, const struct sysfs_handed *from, struct uvfio_error *err)
{
	return start_session(fs, from->fd, from, err);
}

void sysfs_free(struct sysfs *fs)
{
	struct sysfs_fuse *fuse;

	if (!fs)
		return;
	fuse = fs->fuse;
	if (fuse) {
		atomic_store(&fuse->ending, true);
		eventfd_write(fuse->wake, 1);
		pthread_join(fuse->thread, NULL);
	}
	pthread_mutex_lock(&fs->lock);
	sysfs_jobs_stop(fs);
	pthread_mutex_unlock(&fs->lock);
	uio_files_fini(fs);
	pthread_mutex_lock(&fs->lock);
	sysfs_functions_free(fs);
	pthread_mutex_unlock(&fs->lock);
	if (fuse) {
		fuse_session_destroy(fuse->session);
		close(fuse->wake);
		free(fuse);
	}
	pthread_cond_destroy(&fs->changed_cond);
	pthread_mutex_destroy(&fs->lock);
	free(fs->jobs);
	free(fs);
}
