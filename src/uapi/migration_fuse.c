/* SPDX-License-Identifier: BSD-3-Clause */
/* The file system that has the files of migration data, and the threads that serve it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/thread.h"
#include "uapi/migration_private.h"

/* Nothing changes but what nobody is told: what is asked of a file is answered by the kernel. */
#define EVER 1e9

static struct uapi_migrations *of_request(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static void attributes(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600,
		.st_nlink = 1,
		.st_uid = geteuid(),
		.st_gid = getegid(),
	};
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	attributes(ino, &st);
	fuse_reply_attr(req, &st, EVER);
}

/* fchmod and so on, which an anonymous inode takes no notice of either. */
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	fuse_reply_err(req, to_set & FUSE_SET_ATTR_SIZE ? EINVAL : EPERM);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct uapi_migrations *m = of_request(req);
	struct fuse_entry_param entry = {.attr_timeout = EVER};
	struct uapi_migration *f;

	entry.ino = strtoull(name, NULL, 10);
	pthread_mutex_lock(&m->lock);
	f = parent == FUSE_ROOT_ID ? migration_find(m, entry.ino) : NULL;
	pthread_mutex_unlock(&m->lock);
	if (!f) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(entry.ino, &entry.attr);
	fuse_reply_entry(req, &entry);
}

/* As an anonymous inode it cannot be opened again, through /proc. */
static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	static const struct fuse_open_out out = {
		.open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH,
	};
	struct uapi_migrations *m = of_request(req);
	struct uapi_migration *f;
	bool first;

	pthread_mutex_lock(&m->lock);
	f = migration_find(m, ino);
	first = f && !f->opened;
	if (first)
		f->opened = true;
	pthread_mutex_unlock(&m->lock);
	if (first)
		fuse_reply_buf(req, (const char *)&out, sizeof(out));
	else
		fuse_reply_err(req, ENXIO);
}

static struct op *new_op(fuse_req_t req, enum op_kind kind, size_t size, const void *data)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	op->kind = kind;
	op->req = req;
	op->tid = fuse_req_ctx(req)->pid;
	op->size = size;
	op->data = data;
	return op;
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct op *op = new_op(req, OP_READ, size, NULL);

	if (op)
		migration_submit(of_request(req), ino, op);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct op *op = new_op(req, OP_WRITE, size, buf);

	if (op)
		migration_submit(of_request(req), ino, op);
}

static void on_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *handle)
{
	struct uapi_migrations *m = of_request(req);
	struct op *op = new_op(req, OP_POLL, 0, NULL);
	struct fuse_pollhandle *old = handle;
	struct uapi_migration *f;

	/* First the handle, then the look: what changes in between is told. */
	pthread_mutex_lock(&m->lock);
	f = op ? migration_find(m, ino) : NULL;
	if (f && handle && !f->released) {
		old = f->poll;
		f->poll = handle;
		pthread_cond_signal(&m->watch);
	}
	pthread_mutex_unlock(&m->lock);
	if (old)
		fuse_pollhandle_destroy(old);
	if (op)
		migration_submit(m, ino, op);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct uapi_migrations *m = of_request(req);

	fuse_reply_err(req, 0);
	migration_released(m, ino);
}

static void on_init(void *arg, struct fuse_conn_info *conn)
{
	conn->max_write = MAX_TRANSFER;
	conn->max_readahead = 0;
}

static const struct fuse_lowlevel_ops ops = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.poll = on_poll,
	.release = on_release,
};

/* ---- threads ---- */

/* The one place where a thread can be ended. */
static ssize_t take(int fd, void *buf, size_t len, void *arg)
{
	int state;
	ssize_t n;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
	n = read(fd, buf, len);
	pthread_setcancelstate(state, NULL);
	return n;
}

static ssize_t give(int fd, struct iovec *iov, int count, void *arg)
{
	return writev(fd, iov, count);
}

static void free_buf(void *arg)
{
	free(((struct fuse_buf *)arg)->mem);
}

static void *serve(void *arg)
{
	struct uapi_migrations *m = arg;
	struct fuse_buf buf = {0};
	int n;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &n);
	pthread_setname_np(pthread_self(), "migration");
	pthread_cleanup_push(free_buf, &buf);
	do {
		n = fuse_session_receive_buf(m->session, &buf);
		if (n > 0)
			fuse_session_process_buf(m->session, &buf);
	} while (n > 0 || n == -EINTR || n == -EAGAIN);
	pthread_cleanup_pop(1);
	return NULL;
}

int migration_fuse_threads(struct uapi_migrations *m, unsigned nr)
{
	int ret = 0;

	for (; !ret && m->nr_threads < nr; m->nr_threads += !ret)
		ret = -uvfio_thread_create(&m->threads[m->nr_threads], NULL, serve, m);
	return ret;
}

void migration_fuse_stop(struct uapi_migrations *m)
{
	for (unsigned i = 0; i < m->nr_threads; i++)
		pthread_cancel(m->threads[i]);
	for (unsigned i = 0; i < m->nr_threads; i++)
		pthread_join(m->threads[i], NULL);
	m->nr_threads = 0;
}

int migration_fuse_init(struct uapi_migrations *m, int fuse)
{
	static const struct fuse_custom_io io = {.read = take, .writev = give};
	char name[] = "uvfio", *argv[] = {name, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	m->session = fuse_session_new(&args, &ops, sizeof(ops), m);
	fuse_opt_free_args(&args);
	if (m->session && !fuse_session_custom_io(m->session, &io, fuse))
		return 0;
	close(fuse);
	return -ENOMEM;
}

void migration_fuse_fini(struct uapi_migrations *m)
{
	if (m->session)
		fuse_session_destroy(m->session);
}
