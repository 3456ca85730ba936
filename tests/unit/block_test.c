/* SPDX-License-Identifier: BSD-3-Clause */
/* block.c, file.c, file_open.c, memory.c and volatile.c. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <linux/loop.h>
#include <cmocka.h>
#include "block_harness.h"
#include "guarded.h"

static char path[4096];

static void file_options(struct block_options *opts, uint64_t size)
{
	make_file(path, disk_dir(), size);
	*opts = (struct block_options){.file = path};
}

/* ---- memory ---- */

static void memory_does_what_all_do(void **state)
{
	struct block_options opts = {.memory = 8 << 20};
	struct block *blk = open_block(&opts);

	guarded();
	assert_non_null(blk);
	check_backend(blk);
	check_gone_memory(blk);
	assert_false(block_info(blk)->volatile_cache);
	close_block(blk);
}

static uint64_t resident_pages(void *p, size_t len)
{
	unsigned char vec[1024];
	uint64_t n = 0;

	assert_true(len / 4096 <= sizeof(vec));
	assert_int_equal(mincore(p, len, vec), 0);
	for (size_t i = 0; i < len / 4096; i++)
		n += vec[i] & 1;
	return n;
}

static void memory_is_lazy_and_given_back(void **state)
{
	/* More than the machine has. */
	struct block_options opts = {.memory = 128ull << 30};
	struct block *blk = open_block(&opts);
	char *p, buf[4096];

	assert_non_null(blk);
	p = block_direct(blk, 1ull << 36, 4 << 20);
	assert_non_null(p);
	assert_null(block_direct(blk, opts.memory - 4096, 8192));
	assert_null(block_direct(blk, UINT64_MAX, 8192));
	assert_int_equal(resident_pages(p, 4 << 20), 0);
	memset(p, 7, 4 << 20);
	assert_true(resident_pages(p, 4 << 20) == 1024);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, (1ull << 36) + 4096, buf, 4096), 0);
	assert_int_equal(buf[9], 7);
	/* The two pages at the ends are not whole. */
	assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, (1ull << 36) + 512, NULL, (4 << 20) - 1024),
			 0);
	assert_true(resident_pages(p, 4 << 20) <= 2);
	assert_int_equal(p[511], 7);
	assert_int_equal(p[512], 0);
	assert_int_equal(p[(4 << 20) - 513], 0);
	assert_int_equal(p[(4 << 20) - 512], 7);
	close_block(blk);
	opts.memory = UINT64_MAX;
	assert_null(open_block(&opts));
	assert_int_equal(errno, ENOMEM);
	assert_non_null(strstr(open_error.msg, "memory=18446744073709551615"));
}

/* ---- files ---- */

static void file_does_what_all_do(void **state)
{
	static const struct {
		bool direct, threads;
		unsigned depth;
	} rows[] = {{0}, {.direct = true}, {.threads = true}, {.depth = 1}, {.depth = 4096}};

	guarded();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct block_options opts;
		struct block *blk;

		file_options(&opts, 8 << 20);
		opts.direct = rows[i].direct;
		opts.threads = rows[i].threads;
		opts.depth = rows[i].depth;
		blk = open_block(&opts);
		if (!blk && opts.direct) {
			print_message("no O_DIRECT here: %s\n", open_error.msg);
			unlink(path);
			continue;
		}
		assert_non_null(blk);
		assert_true(block_info(blk)->volatile_cache && block_info(blk)->can_fua);
		assert_false(block_info(blk)->readonly);
		check_backend(blk);
		check_gone_memory(blk);
		close_block(blk);
		unlink(path);
	}
}

static void file_discard_frees_blocks(void **state)
{
	struct block_options opts;
	struct block *blk;
	char *buf = malloc(1 << 20);
	struct stat before, after;

	file_options(&opts, 4 << 20);
	blk = open_block(&opts);
	assert_non_null(blk);
	fill(buf, 1 << 20, 3);
	assert_int_equal(do_io(blk, BLOCK_WRITE, BLOCK_FUA, 0, buf, 1 << 20), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_true(before.st_blocks >= 2048);
	/* Zeroes that may not be freed stay allocated. */
	assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, 0, 0, NULL, 1 << 19), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_blocks >= 2048);
	if (!block_info(blk)->can_discard) {
		print_message("the file system of %s cannot punch holes\n", path);
		skip();
	}
	assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, BLOCK_MAY_FREE, 0, NULL, 1 << 19), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_blocks <= before.st_blocks - 1024 + 16);
	assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, 1 << 19, NULL, 1 << 19), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_blocks <= 16);
	assert_int_equal(after.st_size, 4 << 20);
	close_block(blk);
	unlink(path);
	free(buf);
}

static void opening_says_what_is_wrong(void **state)
{
	struct block_options opts = {.file = "/nonexistent/disk.img"};
	struct block *blk, *second;
	char fifo[4200];

	assert_null(open_block(&opts));
	assert_int_equal(errno, ENOENT);
	assert_non_null(strstr(open_error.msg, "/nonexistent/disk.img"));
	opts.file = "/tmp";
	opts.readonly = true;
	assert_null(open_block(&opts));
	assert_int_equal(errno, EINVAL);
	assert_non_null(strstr(open_error.msg, "neither a file nor a block device"));
	opts.memory = 4096;
	assert_null(open_block(&opts));
	assert_non_null(strstr(open_error.msg, "give one of"));

	file_options(&opts, 0);
	assert_null(open_block(&opts));
	assert_non_null(strstr(open_error.msg, "is empty"));
	/* A FIFO must not hold us up. */
	snprintf(fifo, sizeof(fifo), "%s.fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	opts.readonly = true;
	opts.file = fifo;
	assert_null(open_block(&opts));
	unlink(fifo);
	unlink(path);

	/* Locks: one writer, or many readers. */
	file_options(&opts, 1 << 20);
	blk = open_block(&opts);
	assert_non_null(blk);
	assert_null(open_block(&opts));
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(open_error.msg, path));
	assert_non_null(strstr(open_error.msg, "locked"));
	opts.readonly = true;
	assert_null(open_block(&opts));
	assert_int_equal(errno, EBUSY);
	close_block(blk);
	blk = open_block(&opts);
	second = open_block(&opts);
	assert_non_null(blk);
	assert_non_null(second);
	opts.readonly = false;
	assert_null(open_block(&opts));
	assert_int_equal(errno, EBUSY);
	close_block(blk);
	close_block(second);
	unlink(path);
}

/* The lock of a server that has ended, but of which the kernel still has files to close. */
static void a_lock_that_goes_is_waited_for(void **state)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct block_options opts;
	char event[4096], ready[2];
	struct block *blk;
	int pipes[2];
	pid_t pid;

	file_options(&opts, 1 << 20);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (!pid) {
		int watch = inotify_init1(IN_CLOEXEC), fd = open(path, O_RDWR | O_CLOEXEC);

		if (fd < 0 || fcntl(fd, F_OFD_SETLK, &fl) ||
		    inotify_add_watch(watch, path, IN_OPEN) < 0 || write(pipes[1], "r", 1) != 1 ||
		    read(watch, event, sizeof(event)) <= 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(read(pipes[0], ready, 1), 1);
	blk = open_block(&opts);
	assert_non_null(blk);
	close_block(blk);
	waitpid(pid, NULL, 0);
	close(pipes[0]);
	close(pipes[1]);
	unlink(path);
}

static void readonly_is_readonly(void **state)
{
	struct block_options opts;
	struct block *blk;
	char buf[4096] = {0};

	file_options(&opts, 1 << 20);
	opts.readonly = true;
	blk = open_block(&opts);
	assert_non_null(blk);
	assert_true(block_info(blk)->readonly);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), -EROFS);
	assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, 0, 0, NULL, 4096), -EROFS);
	assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, 0, NULL, 4096), -EROFS);
	assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	close_block(blk);
	unlink(path);
}

static void count_resize(void *arg)
{
	++*(unsigned *)arg;
}

static int get_size(struct block *blk)
{
	return do_io(blk, BLOCK_GET_SIZE, 0, 0, NULL, 0);
}

static void size_changes_are_found(void **state)
{
	for (int threads = 0; threads < 2; threads++) {
		struct block_options opts;
		struct block *blk;
		unsigned resized = 0;
		char buf[8192] = {1};

		file_options(&opts, 1 << 20);
		opts.threads = threads;
		blk = open_block(&opts);
		assert_non_null(blk);
		block_on_resize(blk, count_resize, &resized);
		assert_int_equal(get_size(blk), 0);
		assert_int_equal(resized, 0);
		assert_int_equal(truncate(path, 2 << 20), 0);
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 1 << 20, buf, 4096), -ENXIO);
		assert_int_equal(get_size(blk), 0);
		assert_int_equal(resized, 1);
		assert_int_equal(block_info(blk)->size, 2 << 20);
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 1 << 20, buf, 4096), 0);
		/* Cut behind our back: no data, no success, and the read finds out. */
		assert_int_equal(truncate(path, 4096), 0);
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 1 << 20, buf, 4096), -ENXIO);
		assert_int_equal(resized, 2);
		assert_int_equal(block_info(blk)->size, 4096);
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), 0);
		/* Half of what is read is there. */
		assert_int_equal(truncate(path, 16384), 0);
		assert_int_equal(get_size(blk), 0);
		assert_int_equal(truncate(path, 4096), 0);
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 8192), -ENXIO);
		assert_int_equal(resized, 4);
		assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
		close_block(blk);
		unlink(path);
	}
}

/* A note stays with the file, see below. */
static int put_note(struct block *blk, const char *text)
{
	return do_io(blk, BLOCK_NOTE, 0, 0, (char *)text, strlen(text));
}

/* A note stays with the file: when it is opened again, read-only and by the volatile disk too. */
static void notes_are_kept(void **state)
{
	struct block_options opts;
	char buf[BLOCK_NOTE_MAX + 1] = "", long_note[BLOCK_NOTE_MAX + 2];
	struct block *blk;

	file_options(&opts, 1 << 20);
	blk = open_block(&opts);
	if (!block_info(blk)->can_note) {
		close_block(blk);
		unlink(path);
		print_message("the file system has no user attributes here\n");
		skip();
	}
	assert_int_equal(block_note(blk, buf, sizeof(buf)), 0);
	assert_int_equal(put_note(blk, "first and longer"), 0);
	assert_int_equal(put_note(blk, "second"), 0);
	assert_int_equal(block_note(blk, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "second", 6);
	memset(long_note, 'x', sizeof(long_note) - 1);
	long_note[sizeof(long_note) - 1] = 0;
	assert_int_equal(put_note(blk, long_note), -EINVAL);
	close_block(blk);
	for (int i = 0; i < 3; i++) {
		opts.readonly = i == 1;
		opts.volatile_test = i == 2;
		blk = open_block(&opts);
		assert_non_null(blk);
		memset(buf, 0, sizeof(buf));
		assert_int_equal(block_note(blk, buf, sizeof(buf)), 6);
		assert_string_equal(buf, "second");
		if (i)
			assert_int_equal(put_note(blk, "third"), i == 1 ? -EROFS : -EOPNOTSUPP);
		close_block(blk);
	}
	unlink(path);
}

/* Put @file behind a loop device, whose name goes to @dev: its descriptor, or -1. */
static int loop_attach(int file, char *dev)
{
	/* It goes with its last user, however this test ends. */
	struct loop_config config = {.fd = file, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = -1, nr;

	/* Others may take the free one before us. */
	for (int i = 0; control >= 0 && fd < 0 && i < 20; i++) {
		nr = ioctl(control, LOOP_CTL_GET_FREE);
		if (nr < 0)
			break;
		sprintf(dev, "/dev/loop%d", nr);
		fd = open(dev, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config)) {
			close(fd);
			fd = -1;
		}
	}
	if (control >= 0)
		close(control);
	if (fd < 0)
		print_message("no loop device here: %s\n", strerror(errno));
	return fd;
}

/*
 * A file of 8 MiB on a file system of 1 MiB, in a mount namespace of this thread's own.  The loop's
 * thread is in the old one and gets there by a descriptor: @path is set to that.
 */
static bool small_file_system(char *dir, int *fd)
{
	char name[100];

	strcpy(dir, "/tmp/uvfio-full-XXXXXX");
	if (unshare(CLONE_NEWNS) || !mkdtemp(dir) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", dir, "tmpfs", 0, "size=1m")) {
		print_message("cannot mount a tmpfs here: %s\n", strerror(errno));
		return false;
	}
	make_file(name, dir, 8 << 20);
	*fd = open(name, O_RDWR | O_CLOEXEC);
	assert_true(*fd >= 0);
	unlink(name);
	sprintf(path, "/proc/self/fd/%d", *fd);
	return true;
}

static void small_file_system_gone(char *dir, int fd)
{
	close(fd);
	assert_int_equal(umount(dir), 0);
	rmdir(dir);
}

/* ENOSPC, later room again, and zeroes without ZERO_RANGE. */
static void full_file_system(void **state)
{
	struct block_options opts = {.file = path};
	struct block *blk;
	char dir[32], *buf;
	int fd;

	if (!small_file_system(dir, &fd))
		skip();
	buf = calloc(1, 4 << 20);
	assert_non_null(buf);
	for (int threads = 0; threads < 2; threads++) {
		opts.threads = threads;
		blk = open_block(&opts);
		assert_non_null(blk);
		memset(buf, 5, 4 << 20);
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4 << 20), -ENOSPC);
		assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, 0, 0, NULL, 4 << 20), -ENOSPC);
		assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, BLOCK_MAY_FREE, 0, NULL, 4 << 20),
				 0);
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 65536), 0);
		assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, 0, 4096, NULL, 8192), 0);
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 65536), 0);
		assert_int_equal(buf[4095], 5);
		assert_true(all_zero(buf + 4096, 8192));
		assert_int_equal(buf[12288], 5);
		assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, 0, NULL, 8 << 20), 0);
		close_block(blk);
	}
	small_file_system_gone(dir, fd);
	free(buf);
}

/* The kernel reports pages that it could not write once, and forgets them. */
static void lost_writes_stay_lost(void **state)
{
	struct block_options opts = {0};
	char dir[32], dev[64], *buf;
	struct block *blk;
	int fd, lfd;

	if (!small_file_system(dir, &fd))
		skip();
	lfd = loop_attach(fd, dev);
	if (lfd < 0) {
		small_file_system_gone(dir, fd);
		skip();
	}
	opts.file = dev;
	buf = malloc(4 << 20);
	assert_non_null(buf);
	fill(buf, 4 << 20, 1);
	for (int by_fua = 0; by_fua < 2; by_fua++) {
		blk = open_block(&opts);
		assert_non_null(blk);
		/* Into the page cache of the device; behind it is no room. */
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4 << 20), 0);
		if (by_fua)
			assert_int_equal(do_io(blk, BLOCK_WRITE, BLOCK_FUA, 0, buf, 4 << 20), -EIO);
		assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
		assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
		/* Room again; what was lost is still lost. */
		assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, 0, NULL, 8 << 20), 0);
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), 0);
		assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
		close_block(blk);
	}
	/* Opened anew it is a new promise. */
	blk = open_block(&opts);
	assert_non_null(blk);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	close_block(blk);
	close(lfd);
	small_file_system_gone(dir, fd);
	free(buf);
}

static void block_device(void **state)
{
	struct block_options opts;
	char dev[64], *buf = aligned_alloc(4096, 65536);
	struct block *blk;
	struct stat st;
	int file, lfd;

	guarded();
	file_options(&opts, 8 << 20);
	file = open(path, O_RDWR | O_CLOEXEC);
	lfd = loop_attach(file, dev);
	if (lfd < 0) {
		close(file);
		unlink(path);
		free(buf);
		skip();
	}
	for (int direct = 0; direct < 2; direct++) {
		opts = (struct block_options){.file = dev, .direct = direct};
		blk = open_block(&opts);
		if (!blk)
			print_message("%s\n", open_error.msg);
		assert_non_null(blk);
		assert_int_equal(block_info(blk)->size, 8 << 20);
		assert_int_equal(block_info(blk)->align, 512);
		check_backend(blk);
		fill(buf, 65536, 4);
		for (int i = 0; i < 16; i++)
			assert_int_equal(do_io(blk, BLOCK_WRITE, BLOCK_FUA, i * 65536, buf, 65536),
					 0);
		assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, 0, NULL, 8 << 20), 0);
		if (block_info(blk)->can_discard) {
			assert_int_equal(fstat(file, &st), 0);
			assert_true(st.st_blocks <= 16);
		}
		close_block(blk);
	}
	close(lfd);
	close(file);
	unlink(path);
	free(buf);
}

/* ---- threads come and go while their requests are in the ring ---- */

/* More than the kernel has workers for, so that some are still to be started. */
#define BURST 2000

struct submitter {
	struct burst burst;
	struct request reqs[BURST];
};

static void *submit_and_exit(void *arg)
{
	struct submitter *s = arg;
	struct context_call call = {.work.fn = call_run, .fn = burst_start, .arg = &s->burst};

	/* In this thread, which ends at once. */
	sem_init(&call.sem, 0, 0);
	uvfio_defer_begin();
	uvfio_ctx_post(ctx, &call.work);
	uvfio_defer_end();
	sem_wait(&call.sem);
	sem_destroy(&call.sem);
	return NULL;
}

static void submitting_thread_may_end(void **state)
{
	struct submitter *s = calloc(1, sizeof(*s));
	char *buf = aligned_alloc(4096, BURST * 4096);
	struct block_options opts;
	int fd;

	file_options(&opts, 64 << 20);
	opts.depth = 4096;
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	memset(buf, 1, BURST * 4096);
	for (int i = 0; i < 8; i++)
		assert_int_equal(pwrite(fd, buf, BURST * 4096, i * BURST * 4096), BURST * 4096);
	for (int direct = 0; direct < 2; direct++) {
		opts.direct = direct;
		s->burst.blk = open_block(&opts);
		if (!s->burst.blk)
			continue;
		memset(buf, 1, BURST * 4096);
		s->burst.reqs = s->reqs;
		s->burst.nr = BURST;
		sem_init(&s->burst.sem, 0, 0);
		for (int round = 0; round < 10; round++) {
			pthread_t thread;

			/* Reads must go to the disk, and so take longer than the thread. */
			assert_int_equal(fdatasync(fd), 0);
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

			for (int i = 0; i < BURST; i++) {
				struct request *req = &s->reqs[i];

				req->io = (struct block_io){
					.op = (i + round) % 4 == 0      ? BLOCK_FLUSH
					      : round % 2 || i % 4 == 1 ? BLOCK_READ
									: BLOCK_WRITE,
					.offset = (uint64_t)(round % 8 * BURST + i) * 4096,
					.len = 4096,
					.iov = req->iov,
					.nr_iov = 1,
				};
				req->iov[0] = (struct iovec){buf + i * 4096, 4096};
			}
			assert_int_equal(pthread_create(&thread, NULL, submit_and_exit, s), 0);
			pthread_join(thread, NULL);
			sem_wait(&s->burst.sem);
			uvfio_ctx_flush(ctx);
			for (int i = 0; i < BURST; i++)
				assert_int_equal(s->reqs[i].io.status, 0);
		}
		close_block(s->burst.blk);
		sem_destroy(&s->burst.sem);
	}
	close(fd);
	unlink(path);
	free(buf);
	free(s);
}

/* ---- the volatile disk ---- */

static void volatile_does_what_all_do(void **state)
{
	struct block_options opts;
	struct block *blk;

	guarded();
	file_options(&opts, 8 << 20);
	opts.volatile_test = true;
	blk = open_block(&opts);
	assert_non_null(blk);
	check_backend(blk);
	check_gone_memory(blk);
	close_block(blk);
	unlink(path);
}

static void volatile_loses_what_was_not_flushed(void **state)
{
	struct block_options opts;
	struct block *blk;
	char buf[4096], back[4096];
	int fd;

	file_options(&opts, 8 << 20);
	opts.volatile_test = true;
	blk = open_block(&opts);
	assert_non_null(blk);
	memset(buf, 1, sizeof(buf));
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 8192, buf, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	memset(buf, 2, sizeof(buf));
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, 0, 8192, NULL, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_WRITE, BLOCK_FUA, 512, buf, 512), 0);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, back, 4096), 0);
	assert_memory_equal(back, buf, 4096);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 8192, back, 4096), 0);
	assert_true(all_zero(back, 4096));
	close_block(blk); /* flushes nothing: as if killed */
	fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, back, 4096, 0), 4096);
	assert_int_equal(back[0], 1);
	assert_int_equal(back[511], 1);
	assert_int_equal(back[512], 2);
	assert_int_equal(back[1023], 2);
	assert_int_equal(back[1024], 1);
	assert_int_equal(pread(fd, back, 4096, 8192), 4096);
	assert_int_equal(back[0], 1);
	close(fd);
	unlink(path);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, harness_setup, harness_teardown)
	const struct CMUnitTest tests[] = {
		TEST(memory_does_what_all_do),
		TEST(memory_is_lazy_and_given_back),
		TEST(file_does_what_all_do),
		TEST(file_discard_frees_blocks),
		TEST(opening_says_what_is_wrong),
		TEST(a_lock_that_goes_is_waited_for),
		TEST(readonly_is_readonly),
		TEST(size_changes_are_found),
		TEST(notes_are_kept),
		TEST(block_device),
		TEST(submitting_thread_may_end),
		TEST(volatile_does_what_all_do),
		TEST(volatile_loses_what_was_not_flushed),
		/* Last: in mount namespaces of their own. */
		TEST(full_file_system),
		TEST(lost_writes_stay_lost),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
