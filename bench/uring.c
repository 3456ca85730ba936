/* SPDX-License-Identifier: BSD-3-Clause */
#include "uring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include "bench.h"

struct loop {
	struct io_uring ring;
	char *buffers;
	uint64_t pages, seed;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "bench: bare io_uring loop: %s: %s\n", what, strerror(error));
	exit(1);
}

static void prepare(struct loop *loop, uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);

	io_uring_prep_read(sqe, 0, loop->buffers + slot * 4096, 4096,
			   bench_random(&loop->seed) % loop->pages * 4096);
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = slot;
}

double bench_uring_reads(const char *path, uint64_t size, unsigned depth, unsigned reads,
			 bool direct)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0)), rc;
	struct loop loop = {.buffers = aligned_alloc(4096, (size_t)depth * 4096),
			    .pages = size / 4096,
			    .seed = 1};
	unsigned started = 0, done = 0;
	struct io_uring_cqe *cqe;
	uint64_t start, ns;

	if (fd < 0 || !loop.buffers)
		die(path, errno);
	rc = io_uring_queue_init(depth, &loop.ring, 0);
	if (!rc)
		rc = io_uring_register_files(&loop.ring, &fd, 1);
	if (rc)
		die("io_uring", -rc);
	start = bench_ns();
	while (started < depth)
		prepare(&loop, started++);
	while (done < reads) {
		unsigned head, n = 0;

		rc = io_uring_submit_and_wait(&loop.ring, 1);
		if (rc < 0 && rc != -EINTR)
			die("submit", -rc);
		io_uring_for_each_cqe(&loop.ring, head, cqe)
		{
			if (cqe->res != 4096)
				die("read", cqe->res < 0 ? -cqe->res : EIO);
			n++;
			if (started < reads) {
				prepare(&loop, cqe->user_data);
				started++;
			}
		}
		io_uring_cq_advance(&loop.ring, n);
		done += n;
	}
	ns = bench_ns() - start;
	io_uring_queue_exit(&loop.ring);
	free(loop.buffers);
	close(fd);
	return done * 1e6 / (double)ns;
}
