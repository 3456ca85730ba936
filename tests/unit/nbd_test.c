/* SPDX-License-Identifier: BSD-3-Clause */
/* nbd.c, against nbdkit on a Unix socket.  Skipped, by name, where nbdkit is not installed. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>
#include "block_harness.h"
#include "guarded.h"

static char dir[] = "/tmp/uvfio-nbd-XXXXXX", uri[128];
static struct sockaddr_un addr = {.sun_family = AF_UNIX};
static pid_t server;

static void stop_server(void)
{
	if (!server)
		return;
	kill(server, SIGKILL);
	assert_int_equal(waitpid(server, NULL, 0), server);
	server = 0;
	unlink(addr.sun_path);
}

/* Start nbdkit with @words (separated by blanks) and wait until it answers. */
static void start_server(const char *words)
{
	struct timespec ts = {0, 2000000};
	char *argv[32] = {"nbdkit", "-f", "--exit-with-parent", "-U", addr.sun_path}, *copy, *save;
	int n = 5, fd, rc, status;

	copy = strdup(words);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	unlink(addr.sun_path);
	server = fork();
	if (!server) {
		execvp("nbdkit", argv);
		_exit(127);
	}
	assert_true(server > 0);
	free(copy);
	do {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
		close(fd);
		if (rc && waitpid(server, &status, WNOHANG) == server) {
			server = 0;
			fail_msg("nbdkit %s ended with status %#x", words, status);
		}
		if (rc)
			nanosleep(&ts, NULL);
	} while (rc);
}

static bool have_nbdkit(void)
{
	return !system("nbdkit --version >/dev/null 2>&1");
}

static int setup(void **state)
{
	if (!have_nbdkit()) {
		print_message("nbdkit is not installed\n");
		skip();
	}
	return harness_setup(state);
}

static int teardown(void **state)
{
	stop_server();
	return harness_teardown(state);
}

static struct block *open_nbd(unsigned depth, unsigned timeout_ms)
{
	struct block_options opts = {.nbd = uri, .depth = depth, .timeout_ms = timeout_ms};

	return open_block(&opts);
}

static void does_what_all_do(void **state)
{
	static const char *const servers[] = {
		"memory 8M",
		"--filter=fua memory 8M",
		"--filter=nozero memory 8M",
		"--filter=blocksize-policy memory 8M blocksize-maximum=64K",
	};

	guarded();
	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		struct block *blk;

		start_server(servers[i]);
		blk = open_nbd(i == 0 ? 1 : 0, 0);
		assert_non_null(blk);
		assert_int_equal(block_info(blk)->size, 8 << 20);
		assert_true(block_info(blk)->can_fua && block_info(blk)->can_discard);
		check_backend(blk);
		check_gone_memory(blk);
		close_block(blk);
		stop_server();
	}
}

/* Each of those who share it has a connection of its own, from its first request on. */
static void shared(void **state)
{
	struct block_options opts = {.nbd = uri, .shared = true};
	char buf[4096], got[4096];
	struct block *a, *b = NULL;

	start_server("memory 8M");
	a = open_block(&opts);
	assert_non_null(a);
	assert_int_equal(block_share(a, NULL, ctx, &b), 0);
	assert_int_equal(block_info(b)->size, 8 << 20);
	check_backend(b);
	fill(buf, sizeof(buf), 1);
	assert_int_equal(do_io(a, BLOCK_WRITE, 0, 4096, buf, 4096), 0);
	assert_int_equal(do_io(b, BLOCK_READ, 0, 4096, got, 4096), 0);
	assert_memory_equal(buf, got, 4096);
	close_block(a);
	assert_int_equal(do_io(b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	close_block(b);
	stop_server();
	/* A server whose connections may see different things. */
	start_server("--filter=multi-conn memory 8M multi-conn-mode=disable");
	assert_null(open_block(&opts));
	assert_int_equal(errno, ENOTSUP);
	stop_server();
}

/* Given back there is no connection, and a new one when it is taken. */
static void handed_over(void **state)
{
	struct block_options opts = {.nbd = uri, .unlocked = true};
	char buf[4096], got[4096];
	struct block *a, *b;

	start_server("memory 8M");
	a = open_nbd(0, 0);
	b = open_block(&opts);
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(block_info(b)->size, 8 << 20);
	assert_int_equal(do_io(b, BLOCK_READ, 0, 0, got, 4096), -EIO);
	fill(buf, sizeof(buf), 1);
	assert_int_equal(do_io(a, BLOCK_WRITE, 0, 4096, buf, 4096), 0);
	/* What was not flushed is not given away. */
	assert_int_equal(do_io(a, BLOCK_RELEASE, 0, 0, NULL, 0), -EIO);
	assert_int_equal(do_io(a, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(do_io(a, BLOCK_RELEASE, 0, 0, NULL, 0), 0);
	assert_int_equal(do_io(a, BLOCK_READ, 0, 0, got, 4096), -EIO);
	assert_int_equal(do_io(b, BLOCK_TAKE, 0, 0, NULL, 0), 0);
	assert_int_equal(do_io(b, BLOCK_READ, 0, 4096, got, 4096), 0);
	assert_memory_equal(buf, got, 4096);
	assert_int_equal(do_io(b, BLOCK_RELEASE, 0, 0, NULL, 0), 0);
	close_block(b);
	stop_server();
	/* Nobody is there; later somebody is. */
	assert_int_equal(do_io(a, BLOCK_TAKE, 0, 0, NULL, 0), -EIO);
	start_server("memory 8M");
	assert_int_equal(do_io(a, BLOCK_TAKE, 0, 0, NULL, 0), 0);
	assert_int_equal(do_io(a, BLOCK_READ, 0, 0, got, 4096), 0);
	close_block(a);
	stop_server();
}

static void server_says_what_it_is(void **state)
{
	char buf[4096] = {0};
	struct block *blk;

	start_server("-r memory 8M");
	blk = open_nbd(0, 0);
	assert_non_null(blk);
	assert_true(block_info(blk)->readonly);
	assert_false(block_info(blk)->can_discard);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), -EROFS);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), 0);
	close_block(blk);
	stop_server();
	start_server("--filter=blocksize-policy memory 8M blocksize-minimum=4096 "
		     "blocksize-preferred=4096 blocksize-maximum=1M");
	blk = open_nbd(0, 0);
	assert_non_null(blk);
	assert_int_equal(block_info(blk)->align, 4096);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 512, buf, 512), -EINVAL);
	close_block(blk);
}

static void errors_of_the_server_come_back(void **state)
{
	char buf[4096] = {0};
	struct block *blk;

	start_server("--filter=error memory 8M error-pwrite-rate=100% error-pwrite=ENOSPC "
		     "error-pread-rate=100% error-pread=EIO");
	blk = open_nbd(0, 0);
	assert_non_null(blk);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), -ENOSPC);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), -EIO);
	assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	close_block(blk);
}

static void opening_says_what_is_wrong(void **state)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_null(open_nbd(0, 0));
	assert_non_null(strstr(open_error.msg, uri));
	/* Somebody listens and never says a word. */
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_null(open_nbd(0, 100));
	assert_non_null(strstr(open_error.msg, "no answer within 100 ms"));
	close(fd);
	unlink(addr.sun_path);
	start_server("memory 0");
	assert_null(open_nbd(0, 0));
	assert_non_null(strstr(open_error.msg, "empty"));
}

/* ---- a server that dies ---- */

static char image[64];

/* nbdkit's words for the image, whose name stands for %s in @filters. */
static const char *file_server(const char *filters)
{
	static char words[200];

	snprintf(words, sizeof(words), filters, image);
	return words;
}

static void make_image(void)
{
	int fd;

	snprintf(image, sizeof(image), "%s/disk", dir);
	fd = open(image, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8 << 20), 0);
	close(fd);
}

static void count_resize(void *arg)
{
	++*(unsigned *)arg;
}

/* With nothing at stake a new server is as good as the old one. */
static void clean_death_is_survived(void **state)
{
	char buf[4096], back[4096];
	unsigned resized = 0;
	struct block *blk;

	make_image();
	start_server(file_server("file %s"));
	blk = open_nbd(0, 0);
	assert_non_null(blk);
	fill(buf, sizeof(buf), 1);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(
			do_io(blk, BLOCK_WRITE, i & 1 ? BLOCK_FUA : 0, i * 4096, buf, 4096), 0);
		if (!(i & 1))
			assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
		/* The death is seen by the next request, or by the loop. */
		stop_server();
		/* ... also when its export is larger: the last one's. */
		if (i == 4)
			assert_int_equal(truncate(image, 16 << 20), 0);
		block_on_resize(blk, count_resize, &resized);
		/* Either the new connection finds the new server, or it was too early. */
		start_server(file_server("file %s"));
		for (int tries = 0; do_io(blk, BLOCK_READ, 0, i * 4096, back, 4096); tries++) {
			struct timespec ts = {0, 300000000};

			assert_true(tries < 3);
			nanosleep(&ts, NULL); /* the pause between attempts */
		}
		assert_memory_equal(back, buf, 4096);
		assert_int_equal(resized, i == 4);
	}
	assert_int_equal(block_info(blk)->size, 16 << 20);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, (16 << 20) - 4096, back, 4096), 0);
	close_block(blk);
	unlink(image);
}

struct burst_thread {
	pthread_t thread;
	struct block *blk;
	struct request reqs[4];
};

static void *burst_main(void *arg)
{
	struct burst_thread *b = arg;

	run_burst(b->blk, b->reqs, 4);
	return NULL;
}

/* nbdkit goes with the thread that started it, so the requests get a thread and this is not one. */
static void replace_server(const char *words)
{
	struct timespec ts = {0, 50000000};
	pid_t old = server;

	nanosleep(&ts, NULL); /* the requests are with the server, which delays them */
	server = 0;
	if (words)
		start_server(words); /* on the same path, before the old one dies */
	else
		unlink(addr.sun_path);
	kill(old, SIGKILL);
	assert_int_equal(waitpid(old, NULL, 0), old);
}

static void request_under_way_is_sent_again(void **state)
{
	struct burst_thread b = {0};
	struct request *reqs = b.reqs;
	char buf[4][4096];
	struct block *blk;

	for (int restart = 1; restart >= 0; restart--) {
		make_image();
		start_server(file_server("--filter=delay file %s delay-read=1 delay-write=1"));
		blk = open_nbd(0, 0);
		assert_non_null(blk);
		for (int i = 0; i < 4; i++) {
			fill(buf[i], 4096, i);
			reqs[i].io = (struct block_io){
				.op = i & 1 ? BLOCK_READ : BLOCK_WRITE,
				.offset = i * 4096,
				.len = 4096,
				.iov = reqs[i].iov,
				.nr_iov = 1,
			};
			reqs[i].iov[0] = (struct iovec){buf[i], 4096};
		}
		b.blk = blk;
		assert_int_equal(pthread_create(&b.thread, NULL, burst_main, &b), 0);
		replace_server(restart ? file_server("file %s") : NULL);
		pthread_join(b.thread, NULL);
		for (int i = 0; i < 4; i++)
			assert_int_equal(reqs[i].io.status, restart ? 0 : -EIO);
		if (restart) {
			assert_true(all_zero(buf[1], 4096));
			assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf[1], 4096), 0);
			assert_memory_equal(buf[0], buf[1], 4096);
		}
		close_block(blk);
		stop_server();
		unlink(image);
	}
}

/* Acknowledged and not flushed: nothing may succeed after that, whatever the new server says. */
static void dirty_death_is_final(void **state)
{
	struct timespec ts = {0, 300000000};
	char buf[4096] = {1};
	struct block *blk;

	for (int how = 0; how < 3; how++) {
		make_image();
		start_server(file_server("file %s"));
		blk = open_nbd(0, 0);
		assert_non_null(blk);
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 4096), 0);
		if (how == 1) /* a flush covers only what came before it */
			assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
		if (how == 1)
			assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, 0, NULL, 4096), 0);
		stop_server();
		start_server(file_server("file %s"));
		nanosleep(&ts, NULL); /* so that it could connect anew */
		if (how == 2)
			assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), -EIO);
		assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
		assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), -EIO);
		assert_int_equal(do_io(blk, BLOCK_WRITE, BLOCK_FUA, 0, buf, 4096), -EIO);
		close_block(blk);
		stop_server();
		unlink(image);
	}
}

static void hang_server(void)
{
	int status;

	kill(server, SIGSTOP);
	assert_int_equal(waitpid(server, &status, WUNTRACED), server);
	assert_true(WIFSTOPPED(status));
}

/* With a timeout that a busy machine may well miss when it connects. */
static struct block *open_impatient(void)
{
	struct block *blk;

	do
		blk = open_nbd(0, 200);
	while (!blk && strstr(open_error.msg, "no answer within 200 ms"));
	assert_non_null(blk);
	return blk;
}

static void count_left(void *arg)
{
	struct burst *b = arg;

	b->nr = b->left;
}

/* A server that hangs is left after the timeout, and again after the second: by who has such a
 * short one.  Who has more patience still gets its answer. */
static void hanging_server_is_given_up(void **state)
{
	char buf[4096], late[4096];
	struct block *blk, *patient;
	struct request req = {.io = {.op = BLOCK_READ, .len = sizeof(late), .nr_iov = 1}};
	struct burst b = {.reqs = &req, .nr = 1};
	uint64_t start;

	start_server("memory 8M");
	patient = open_nbd(0, 3600000);
	assert_non_null(patient);
	blk = open_impatient();
	hang_server();
	req.iov[0] = (struct iovec){late, sizeof(late)};
	req.io.iov = req.iov;
	b.blk = patient;
	sem_init(&b.sem, 0, 0);
	in_context(burst_start, &b);
	start = uvfio_now_ns();
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), -EIO);
	assert_true(uvfio_now_ns() - start >= 200000000);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), -EIO);
	in_context(count_left, &b);
	assert_int_equal(b.nr, 1);
	close_block(blk);
	kill(server, SIGCONT);
	sem_wait(&b.sem);
	sem_destroy(&b.sem);
	assert_int_equal(req.io.status, 0);
	/* Closing while a new connection is being made. */
	blk = open_impatient();
	hang_server();
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), -EIO);
	close_block(blk);
	close_block(patient);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(does_what_all_do),
		TEST(shared),
		TEST(server_says_what_it_is),
		TEST(errors_of_the_server_come_back),
		TEST(opening_says_what_is_wrong),
		TEST(clean_death_is_survived),
		TEST(request_under_way_is_sent_again),
		TEST(dirty_death_is_final),
		TEST(handed_over),
		TEST(hanging_server_is_given_up),
	};
	int rc;

	if (!mkdtemp(dir))
		return 1;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
	snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", addr.sun_path);
	guarded_init();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return rc;
}
