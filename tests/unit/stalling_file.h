/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file whose pages do not come until the test says so: a FUSE file system of one file (its root),
 * served by a child, because a process that serves itself cannot even be killed while it waits.
 * Needs root; without, stalling_file_new() answers NULL and the test is to be
 * skipped.
 */
#ifndef TESTS_UNIT_STALLING_FILE_H
#define TESTS_UNIT_STALLING_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct stalling_file {
	char path[64];
	uint64_t size;
	pid_t child;
	int dev;  /* /dev/fuse; the child's */
	int pipe; /* a byte in it: the pages may come */
	/* The child's. */
	bool go, closing, opened, asked;
	uint64_t held[1024]; /* READ requests that wait */
	uint32_t held_len[1024];
	unsigned nr_held;
	/* For both. */
	atomic_bool *waited_for;
};

static void stalling_reply(struct stalling_file *f, uint64_t unique, int error, const void *data,
			   size_t len)
{
	static char buf[(1 << 17) + 256];
	struct fuse_out_header *out = (struct fuse_out_header *)buf;

	memset(buf, 0, sizeof(*out) + len);
	out->len = (uint32_t)(sizeof(*out) + len);
	out->error = error;
	out->unique = unique;
	if (len && data)
		memcpy(out + 1, data, len);
	if (write(f->dev, out, out->len) < 0 && errno != ENOENT)
		perror("fuse");
}

static void stalling_read(struct stalling_file *f, const struct fuse_in_header *in)
{
	const struct fuse_read_in *request = (const void *)(in + 1);
	uint32_t size = in->opcode == FUSE_READ ? request->size : 0;

	if (f->go) {
		stalling_reply(f, in->unique, 0, NULL, size);
	} else if (f->nr_held < 1024) {
		f->held[f->nr_held] = in->unique;
		f->held_len[f->nr_held++] = size;
		*f->waited_for = true;
	}
}

static void stalling_request(struct stalling_file *f, const struct fuse_in_header *in)
{
	const struct fuse_init_in *init = (const void *)(in + 1);
	struct fuse_attr_out attr = {
		.attr_valid = 1000,
		.attr = {.ino = 1, .size = f->size, .mode = S_IFREG | 0600, .nlink = 1}};
	struct fuse_open_out opened = {.fh = 1};
	struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
				    .minor = FUSE_KERNEL_MINOR_VERSION,
				    .max_write = 4096};

	switch (in->opcode) {
	case FUSE_INIT:
		if (init->minor < out.minor)
			out.minor = init->minor;
		stalling_reply(f, in->unique, 0, &out, sizeof(out));
		break;
	case FUSE_GETATTR:
		if (f->closing && f->opened && f->asked) {
			stalling_read(f, in); /* never answered well */
			break;
		}
		f->asked = f->opened;
		attr.attr_valid = f->closing ? 0 : attr.attr_valid;
		stalling_reply(f, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		f->opened = true;
		stalling_reply(f, in->unique, 0, &opened, sizeof(opened));
		break;
	case FUSE_READ:
		stalling_read(f, in);
		break;
	case FUSE_FLUSH:
		if (f->closing) {
			stalling_read(f, in);
			break;
		}
		/* fall through */
	case FUSE_RELEASE:
		stalling_reply(f, in->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		stalling_reply(f, in->unique, -ENOSYS, NULL, 0);
		break;
	}
}

static void stalling_serve(struct stalling_file *f, int pipe)
{
	static char buf[1 << 17];
	struct pollfd fds[2] = {{f->dev, POLLIN, 0}, {pipe, POLLIN, 0}};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		ssize_t n;

		if (poll(fds, f->go ? 1 : 2, -1) < 0)
			continue;
		if (!f->go && fds[1].revents) {
			f->go = true;
			for (unsigned i = 0; i < f->nr_held; i++)
				stalling_reply(f, f->held[i], 0, NULL, f->held_len[i]);
		}
		if (!fds[0].revents)
			continue;
		n = read(f->dev, buf, sizeof(buf));
		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (n <= 0)
			break;
		stalling_request(f, (const struct fuse_in_header *)buf);
	}
}

/* @closing: closing it stalls, too, and so does all but the first fstat(2) of it once it is open.
 */
static inline struct stalling_file *stalling_file_make(uint64_t size, bool closing)
{
	struct stalling_file *f = calloc(1, sizeof(*f));
	char options[128];
	int fd, ends[2];

	strcpy(f->path, "/tmp/uvfio-stalling-XXXXXX");
	f->size = size;
	f->closing = closing;
	fd = mkstemp(f->path);
	if (fd >= 0)
		close(fd);
	f->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof(options), "fd=%d,rootmode=100000,user_id=0,group_id=0", f->dev);
	if (f->dev < 0 || mount("uvfio-test", f->path, "fuse", MS_NOSUID | MS_NODEV, options)) {
		unlink(f->path);
		if (f->dev >= 0)
			close(f->dev);
		free(f);
		return NULL;
	}
	f->waited_for = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->waited_for == MAP_FAILED || pipe(ends))
		abort();
	f->child = fork();
	if (!f->child) {
		close(ends[1]);
		stalling_serve(f, ends[0]);
		_exit(0);
	}
	close(ends[0]);
	close(f->dev);
	f->pipe = ends[1];
	return f;
}

static inline struct stalling_file *stalling_file_new(uint64_t size)
{
	return stalling_file_make(size, false);
}

/* Wait until somebody waits for a page. */
static inline void stalling_file_wait(struct stalling_file *f)
{
	while (!*f->waited_for)
		sched_yield();
}

/* From now on pages come (zeros), those that are waited for first. */
static inline void stalling_file_go(struct stalling_file *f)
{
	if (write(f->pipe, "", 1) != 1)
		abort();
}

static inline void stalling_file_free(struct stalling_file *f)
{
	umount2(f->path, MNT_DETACH);
	unlink(f->path);
	kill(f->child, SIGKILL);
	waitpid(f->child, NULL, 0);
	close(f->pipe);
	munmap(f->waited_for, 4096);
	free(f);
}

#endif
