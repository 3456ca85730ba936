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
 * after that request sysfs_fuse_answer_interrupted() says EINTR for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "sysfs/attributes.h"
#include "sysfs/binary.h"
#include "sysfs/fuse.h"
#include "sysfs/functions.h"
#include "sysfs/jobs.h"
#include "sysfs/uio_files.h"

#define MAX_WRITE 65536u /* bytes in a request; of these SYSFS_PAGE are taken */

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
	if (found) {
		sysfs_attributes(fs, &node, &st);
	} else if (sysfs_is_uio(ino)) { /* open still, and gone */
		st = (struct stat){.st_ino = ino, .st_mode = S_IFREG | 0600};
		found = true;
	}
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
	if (!ret && sysfs_type(&node) == SYSFS_UIO) {
		uio_on_open(fs, req, &node);
		return;
	}
	if (ret) {
		fuse_reply_err(req, ret);
		return;
	}
	fi->direct_io = 1;
	fi->fh = is_admin(req);
	fuse_reply_open(req, fi);
}

static void on_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *handle)
{
	if (sysfs_is_uio(ino)) {
		uio_on_poll(of_request(req), req, fi, handle);
		return;
	}
	if (handle)
		fuse_pollhandle_destroy(handle);
	/* As of files that sysfs does not notify. */
	fuse_reply_poll(req, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct sysfs *fs = of_request(req);

	fuse_reply_err(req, 0);
	if (sysfs_is_uio(ino))
		uio_on_release(fs, ino, fi);
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

void sysfs_fuse_answer_interrupted(struct sysfs *fs)
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
	if (job->answer == ANSWER_NONE)
		return;
	fuse_req_interrupt_func(req, NULL, NULL);
	if (job->answer == ANSWER_OPEN)
		uio_answer_open(job, result);
	else if (result < 0)
		fuse_reply_err(req, (int)-result);
	else if (job->answer == ANSWER_READ)
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

	if (sysfs_is_uio(ino)) {
		uio_on_read(fs, req, size, fi);
		return;
	}
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
	job->answer = ANSWER_READ;
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

	if (sysfs_is_uio(ino)) {
		uio_on_write(fs, req, ino, buf, size, fi);
		return;
	}
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
			store = (struct sysfs_store){
				.text = text, .len = size, .admin = is_admin(req)};
			n = node.entry && node.entry->store ? node.entry->store(fs, &node, &store)
							    : -EIO;
			later = store.later;
			offset = store.arg;
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

const struct fuse_lowlevel_ops sysfs_fuse_ops = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.readlink = on_readlink,
	.readdir = on_readdir,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.poll = on_poll,
	.release = on_release,
	.create = on_create,
	.mknod = on_mknod,
	.mkdir = on_mkdir,
	.unlink = on_unlink,
	.rmdir = on_unlink,
	.symlink = on_symlink,
	.link = on_link,
	.rename = on_rename,
};
