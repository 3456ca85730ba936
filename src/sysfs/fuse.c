/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree as a file system, by libfuse's low-level interface.
 *
 * Theory of operation.  One thread reads requests and answers them under sysfs->lock, which nobody
 * holds for long; what may wait becomes a job.  Nothing is cached by the kernel (no timeouts,
 * direct I/O), so each look is one at the machine as it is.  Nothing is kept for what a client has
 * looked up or opened: a node's number says what it is (table.h), and the handle of an open file
 * only whether who opened it had CAP_SYS_ADMIN.
 *
 * Interrupts come as requests too: libfuse calls on_interrupt() in our thread, which marks the job;
 * after that request answer_interrupted() says EINTR for it.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"
#include "sysfs/attributes.h"
#include "sysfs/binary.h"
#include "sysfs/functions.h"
#include "sysfs/jobs.h"

#define MAX_WRITE 65536u /* bytes in a request; of these SYSFS_PAGE are taken */

struct sysfs_fuse {
	struct fuse_session *session;
	pthread_t thread;
	int wake; /* eventfd: end */
};

static struct sysfs *of_request(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* ---- attributes ---- */

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct sysfs *fs = of_request(req);
	struct sysfs_node node;
	struct stat st;
	bool found;

	pthread_mutex_lock(&fs->lock);
	found = sysfs_find(fs, ino, &node);
	if (found)
		sysfs_attributes(fs, &node, &st);
	pthread_mutex_unlock(&fs->lock);
	if (found)
		fuse_reply_attr(req, &st, 0);
	else
		fuse_reply_err(req, ENOENT);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct sysfs *fs = of_request(req);
	struct sysfs_node node;
	int ret = -ENOENT;
	struct stat st;

	pthread_mutex_lock(&fs->lock);
	if (sysfs_find(fs, ino, &node)) {
		sysfs_attributes(fs, &node, &st);
		ret = sysfs_change(fs, &st, attr, to_set);
	}
	pthread_mutex_unlock(&fs->lock);
	if (ret)
		fuse_reply_err(req, -ret);
	else
		fuse_reply_attr(req, &st, 0);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct sysfs *fs = of_request(req);
	struct fuse_entry_param entry = {0};
	struct sysfs_node dir, node;
	bool found;

	pthread_mutex_lock(&fs->lock);
	found = sysfs_find(fs, parent, &dir) && sysfs_lookup(fs, &dir, name, &node);
	if (found) {
		sysfs_attributes(fs, &node, &entry.attr);
		entry.ino = entry.attr.st_ino;
	}
	pthread_mutex_unlock(&fs->lock);
	if (found)
		fuse_reply_entry(req, &entry);
	else
		fuse_reply_err(req, ENOENT);
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct sysfs *fs = of_request(req);
	char target[SYSFS_PAGE];
	struct sysfs_node node;
	ssize_t n = -ENOENT;

	pthread_mutex_lock(&fs->lock);
	if (sysfs_find(fs, ino, &node))
		n = sysfs_type(&node) == SYSFS_LINK ? sysfs_show(fs, &node, target, sizeof(target))
						    : -EINVAL;
	pthread_mutex_unlock(&fs->lock);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_readlink(req, target);
}

/* ---- directories ---- */

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	static const char *const dots[] = {".", ".."};
	struct sysfs *fs = of_request(req);
	struct sysfs_node dir, node;
	uint64_t at = (uint64_t)off;
	size_t len = 0, n;
	struct stat st;
	char name[256];
	bool found;
	char *out;

	size = size < MAX_WRITE ? size : MAX_WRITE;
	out = malloc(size);
	pthread_mutex_lock(&fs->lock);
	found = out && sysfs_find(fs, ino, &dir) && !dir.entry;
	for (; found; at = off > 1 ? at : (uint64_t)off) {
		uint64_t next = at + 1;

		memset(&st, 0, sizeof(st));
		if (at < 2) {
			snprintf(name, sizeof(name), "%s", dots[at]);
			st.st_ino = ino;
			st.st_mode = S_IFDIR;
		} else {
			uint64_t cookie = at - 2;

			if (!sysfs_next(fs, &dir, &cookie, &node, name))
				break;
			sysfs_attributes(fs, &node, &st);
			next = cookie + 2;
		}
		n = fuse_add_direntry(req, out + len, size - len, name, &st, (off_t)next);
		if (n > size - len)
			break;
		len += n;
		off = (off_t)next;
		at = next;
	}
	pthread_mutex_unlock(&fs->lock);
	if (found)
		fuse_reply_buf(req, out, len);
	else
		fuse_reply_err(req, out ? ENOENT : ENOMEM);
	free(out);
}

/* ---- files ---- */

static bool is_admin(fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == of_request(req)->config.uid;
}

/* As the kernel does it for sysfs: also root cannot open for what nobody may. */
static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct sysfs *fs = of_request(req);
	int access = fi->flags & O_ACCMODE, ret = ENOENT;
	struct sysfs_node node;
	struct stat st;

	pthread_mutex_lock(&fs->lock);
	if (sysfs_find(fs, ino, &node)) {
		sysfs_attributes(fs, &node, &st);
		ret = (access != O_WRONLY && !(st.st_mode & 0444)) ||
				      (access != O_RDONLY && !(st.st_mode & 0222))
			      ? EACCES
			      : 0;
	}
	pthread_mutex_unlock(&fs->lock);
	if (ret) {
		fuse_reply_err(req, ret);
		return;
	}
	fi->direct_io = 1;
	fi->fh = is_admin(req);
	fuse_reply_open(req, fi);
}

/* In our thread. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct sysfs *fs = of_request(req);
	struct job *job = data;

	pthread_mutex_lock(&fs->lock);
	job->interrupted = true;
	pthread_mutex_unlock(&fs->lock);
}

static void answer_interrupted(struct sysfs *fs)
{
	fuse_req_t req;
	struct job *job;

	do {
		req = NULL;
		pthread_mutex_lock(&fs->lock);
		LIST_FOREACH(job, fs->jobs, all)
		{
			if (!job->interrupted || job->answered)
				continue;
			job->answered = true;
			req = job->request;
			break;
		}
		pthread_mutex_unlock(&fs->lock);
		if (req)
			fuse_reply_err(req, EINTR);
	} while (req);
}

void sysfs_fuse_answer(struct job *job, ssize_t result)
{
	fuse_req_t req = job->request;

	/* on_interrupt() does not look at the job any more when this returns. */
	fuse_req_interrupt_func(req, NULL, NULL);
	if (result < 0)
		fuse_reply_err(req, (int)-result);
	else if (job->is_read)
		fuse_reply_buf(req, job->data, (size_t)result);
	else
		fuse_reply_write(req, (size_t)result);
}

/* Without the lock. */
static void make_job(struct sysfs *fs, uint64_t id, enum sysfs_queue queue, struct job *job)
{
	struct function *f;
	int ret = -ENODEV;

	fuse_req_interrupt_func(job->request, on_interrupt, job);
	pthread_mutex_lock(&fs->lock);
	f = sysfs_function(fs, id);
	if (f)
		ret = sysfs_job_start(fs, f, queue, job);
	pthread_mutex_unlock(&fs->lock);
	if (ret) {
		sysfs_fuse_answer(job, ret);
		free(job);
	}
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct sysfs *fs = of_request(req);
	const uint64_t offset = (uint64_t)off;
	char text[2 * SYSFS_PAGE], *out = text;
	struct sysfs_node node;
	sysfs_job_fn later = NULL;
	uint64_t id = 0;
	struct job *job;
	ssize_t n = -ENODEV;

	pthread_mutex_lock(&fs->lock);
	if (sysfs_find(fs, ino, &node)) {
		if (sysfs_type(&node) == SYSFS_BINARY) {
			n = binary_read(fs, &node, fi->fh, text, &size, offset, &later);
			id = node.f->id;
		} else {
			n = sysfs_show(fs, &node, text, SYSFS_PAGE);
			out += n > 0 && offset < (uint64_t)n ? offset : 0;
			if (n > 0)
				n = offset < (uint64_t)n ? n - off : 0;
			if (n > (ssize_t)size)
				n = (ssize_t)size;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	if (n >= 0) {
		fuse_reply_buf(req, out, (size_t)n);
		return;
	}
	job = n == -EINPROGRESS ? sysfs_job_new(node.entry, later, NULL, size, offset, req) : NULL;
	if (!job) {
		fuse_reply_err(req, n == -EINPROGRESS ? ENOMEM : (int)-n);
		return;
	}
	job->is_read = true;
	make_job(fs, id, QUEUE_CONFIG, job);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct sysfs *fs = of_request(req);
	struct sysfs_store store = {0};
	char text[SYSFS_PAGE + 1];
	uint64_t offset = (uint64_t)off, id = 0;
	sysfs_job_fn later = NULL;
	struct sysfs_node node;
	struct job *job;
	ssize_t n = -ENODEV;
	bool binary = false;

	if (size > SYSFS_PAGE)
		size = SYSFS_PAGE;
	pthread_mutex_lock(&fs->lock);
	if (sysfs_find(fs, ino, &node)) {
		binary = sysfs_type(&node) == SYSFS_BINARY;
		if (binary) {
			n = binary_write(fs, &node, buf, &size, offset, &later);
			id = node.f->id;
			if (later && strcmp(node.entry->name, "config") != 0)
				offset |= 1ull << 63;
		} else {
			memcpy(text, buf, size);
			text[size] = '\0';
			store = (struct sysfs_store){text, size, is_admin(req), NULL, NULL};
			n = node.entry && node.entry->store ? node.entry->store(fs, &node, &store)
							    : -EIO;
			later = store.later;
			id = store.f ? store.f->id : 0;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	if (n >= 0) {
		fuse_reply_write(req, (size_t)n);
		return;
	}
	job = n == -EINPROGRESS ? sysfs_job_new(node.entry, later, buf, size, offset, req) : NULL;
	if (job)
		make_job(fs, id, binary ? QUEUE_CONFIG : QUEUE_DRIVER, job);
	else
		fuse_reply_err(req, n == -EINPROGRESS ? ENOMEM : (int)-n);
}

/* ---- what sysfs does not have ---- */

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	fuse_reply_err(req, EACCES);
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	fuse_reply_err(req, EPERM);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	fuse_reply_err(req, EPERM);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to,
		      const char *to_name, unsigned flags)
{
	fuse_reply_err(req, EPERM);
}

static void on_init(void *arg, struct fuse_conn_info *conn)
{
	conn->max_write = MAX_WRITE;
	conn->max_readahead = 0;
}

static const struct fuse_lowlevel_ops ops = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.readlink = on_readlink,
	.readdir = on_readdir,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.create = on_create,
	.mknod = on_mknod,
	.mkdir = on_mkdir,
	.unlink = on_unlink,
	.rmdir = on_unlink,
	.symlink = on_symlink,
	.link = on_link,
	.rename = on_rename,
};

/* ---- the thread ---- */

/* The end of a socket is the end of the file system, as ENODEV of /dev/fuse is. */
static ssize_t take(int fd, void *buf, size_t len, void *arg)
{
	ssize_t n = read(fd, buf, len);

	if (n == 0 || (n < 0 && errno == ECONNRESET)) {
		errno = ENODEV;
		n = -1;
	}
	return n;
}

/* In one write(2): a confined server has no writev(2). */
static ssize_t give(int fd, struct iovec *iov, int count, void *arg)
{
	size_t len = 0;
	ssize_t n;
	char *all;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
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

static void *serve(void *arg)
{
	struct sysfs *fs = arg;
	struct fuse_session *session = fs->fuse->session;
	struct fuse_buf buf = {0};

	while (!fuse_session_exited(session)) {
		struct pollfd fds[2] = {{fuse_session_fd(session), POLLIN, 0},
					{fs->fuse->wake, POLLIN, 0}};
		int n;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			break;
		n = fuse_session_receive_buf(session, &buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(session, &buf);
		answer_interrupted(fs);
	}
	free(buf.mem);
	return NULL;
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
	fs->started = time(NULL);
	fs->autoprobe = true;
	LIST_INIT(fs->jobs);
	pthread_mutex_init(&fs->lock, NULL);
	pthread_cond_init(&fs->changed_cond, NULL);
	return fs;
}

int sysfs_serve(struct sysfs *fs, int fd, struct uvfio_error *err)
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
	fuse->wake = eventfd(0, EFD_CLOEXEC);
	fuse->session = fuse_session_new(&args, &ops, sizeof(ops), fs);
	fuse_opt_free_args(&args);
	if (fuse->wake < 0 || !fuse->session || fuse_session_custom_io(fuse->session, &io, fd)) {
		close(fd);
		ret = uvfio_error_set(err, -ENOMEM, "cannot make a FUSE session");
		goto fail;
	}
	fs->fuse = fuse;
	ret = -uvfio_thread_create(&fuse->thread, NULL, serve, fs);
	if (!ret)
		return 0;
	uvfio_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	fs->fuse = NULL;
fail:
	if (fuse->session)
		fuse_session_destroy(fuse->session);
	if (fuse->wake >= 0)
		close(fuse->wake);
	free(fuse);
	return ret;
}

void sysfs_free(struct sysfs *fs)
{
	struct sysfs_fuse *fuse;

	if (!fs)
		return;
	fuse = fs->fuse;
	if (fuse) {
		eventfd_write(fuse->wake, 1);
		pthread_join(fuse->thread, NULL);
	}
	pthread_mutex_lock(&fs->lock);
	sysfs_jobs_stop(fs);
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
