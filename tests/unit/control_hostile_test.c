/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients of control that mean harm: none of them keeps another one from being answered. */
#include <dirent.h>
#include <sys/wait.h>
#include "control_harness.h"
#include "stalling_file.h"
#include "support/send_fds.h"

static void still_answers(const struct server *s)
{
	struct peer *p = peer_new(s);
	struct json_object *a = ask(p, "list", NULL);

	assert_int_equal(number_at(a, "result.total"), 2);
	json_object_put(a);
	peer_free(p);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Sends as long as it goes, and reads nothing. */
static void test_never_reads(void **state)
{
	static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lspci\"}\n";
	struct server s;
	struct peer *p;
	ssize_t n = 1;

	server_up(&s, NULL);
	p = peer_new(&s);
	/* Its answers fill the socket, its requests the buffer; then it is cut off. */
	while (n > 0)
		n = send(p->fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
	assert_true(n < 0 && (errno == EPIPE || errno == ECONNRESET));
	still_answers(&s);
	peer_free(p);

	/* One that only stalls is kept, and gets its answers when it reads. */
	p = peer_new(&s);
	for (unsigned i = 0; i < 100; i++)
		say(p, request);
	still_answers(&s);
	for (unsigned i = 0; i < 100; i++)
		json_object_put(hear_json(p));
	peer_free(p);
	server_down(&s);
}

/* The same, but it has ended its sending half. */
static void test_late_reader(void **state)
{
	static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lspci\"}\n";
	struct server s;
	struct peer *p;

	server_up(&s, NULL);
	p = peer_new(&s);
	for (unsigned i = 0; i < 100; i++)
		say(p, request);
	shutdown(p->fd, SHUT_WR);
	still_answers(&s);
	for (unsigned i = 0; i < 100; i++)
		json_object_put(hear_json(p));
	assert_null(hear(p));
	peer_free(p);
	server_down(&s);
}

struct flood {
	const struct server *s;
	atomic_bool stop;
};

static void *flood(void *arg)
{
	static const char request[] =
		"{\"jsonrpc\":\"2.0\",\"method\":\"stats\"}{\"jsonrpc\":\"2.0\",\"method\":\"list\"}";
	struct flood *f = arg;
	int fd = control_connect(f->s->path);
	size_t pos = 0;

	while (!atomic_load(&f->stop)) {
		ssize_t n = send(fd, request + pos, sizeof(request) - 1 - pos, MSG_NOSIGNAL);

		if (n < 0)
			break;
		pos = (pos + (size_t)n) % (sizeof(request) - 1);
	}
	close(fd);
	return NULL;
}

static void test_flood(void **state)
{
	pthread_t threads[3];
	struct server s;
	struct flood f = {&s, false};

	server_up(&s, NULL);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, flood, &f), 0);
	for (unsigned i = 0; i < 50; i++)
		still_answers(&s);
	atomic_store(&f.stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	server_down(&s);
}

/* Connections that are left open, empty or with half a message, keep nobody out. */
static void test_left_open(void **state)
{
	struct peer *p[200];
	struct server s;
	struct peer *busy;
	struct json_object *a;
	unsigned before;

	server_up(&s, &server_ops);
	before = open_fds();
	busy = peer_new(&s);
	a = ask(busy, "trace", "{\"events\":[\"reset\"]}");
	json_object_put(a);
	for (unsigned i = 0; i < 200; i++) {
		p[i] = peer_new(&s);
		if (i % 2)
			say(p[i], "{\"jsonrpc\":");
		if (i % 50 == 0)
			still_answers(&s);
	}
	still_answers(&s);
	/* Who waits for something was not the one that made room. */
	assert_int_equal(dev_ioctl(&s.f, VFIO_DEVICE_RESET, NULL), 0);
	a = hear_json(busy);
	assert_string_equal(text_at(a, "params.event"), "reset");
	json_object_put(a);
	for (unsigned i = 0; i < 200; i++)
		peer_free(p[i]);
	peer_free(busy);
	/* Nothing is left of them once the server has noticed; it may still have to notice the end
	 * of the last one that asked. */
	while (open_fds() > before + 1)
		still_answers(&s);
	server_down(&s);
}

/* Files sent without end, with requests that do not take them. */
static void test_sends_files(void **state)
{
	struct iovec iov = {(void *)"{", 1};
	int fds[16], one = memfd_create("one", MFD_CLOEXEC);
	struct server s;
	struct peer *p;
	unsigned before;

	server_up(&s, &server_ops);
	p = peer_new(&s);
	before = open_fds();
	for (unsigned i = 0; i < 16; i++)
		fds[i] = one;
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(sendmsg_fds(p->fd, &iov, 1, fds, 16), 1);
		iov = (struct iovec){(void *)" ", 1};
	}
	still_answers(&s);
	say(p, "x\n");
	json_object_put(hear_json(p)); /* that this is not JSON: all that came before was seen */
	assert_true(open_fds() <= before + 16 + 2);
	peer_free(p);
	while (open_fds() >= before)
		still_answers(&s);
	close(one);
	server_down(&s);
}

/* Files whose closing takes as long as their owner likes. */
static void test_sends_stalling_files(void **state)
{
	static const char *const messages[] = {
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list\"}",
		("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"add\",\"params\":{\"device\":\"x\","
		 "\"fds\":[{\"key\":\"file\",\"value\":\"x\"},{\"key\":1}]}}"),
		"{\"jsonrpc\":",
	};
	struct stalling_file *stalling = stalling_file_make(4096, true);
	int fds[2];
	struct server s;
	ssize_t n = 1;

	if (!stalling)
		skip();
	fds[0] = fds[1] = open(stalling->path, O_RDWR | O_CLOEXEC);
	assert_true(fds[0] >= 0);
	server_up(&s, &server_ops);
	for (unsigned i = 0; i < 3; i++) {
		struct iovec iov = {(void *)messages[i], strlen(messages[i])};
		struct peer *p = peer_new(&s);

		assert_int_equal(sendmsg_fds(p->fd, &iov, 1, fds, 2), iov.iov_len);
		if (i < 2)
			json_object_put(hear_json(p));
		peer_free(p);
		still_answers(&s);
	}
	stalling_file_wait(stalling);
	/* One that does not stop is cut off. */
	for (struct peer *p = peer_new(&s); p;) {
		struct iovec iov = {(void *)" ", 1};

		n = sendmsg_fds(p->fd, &iov, 1, fds, 2);
		if (n < 0) {
			peer_free(p);
			break;
		}
		still_answers(&s);
	}
	assert_true(errno == EPIPE || errno == ECONNRESET);
	still_answers(&s);
	stalling_file_go(stalling);
	close(fds[0]);
	server_down(&s);
	stalling_file_free(stalling);
}

static void test_too_many_jobs(void **state)
{
	struct json_object *a;
	unsigned refused = 0;
	struct server s;
	struct peer *p;

	server_up(&s, &server_ops);
	s.hold = true;
	p = peer_new(&s);
	for (unsigned i = 0; i < 40; i++)
		say(p,
		    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"remove\",\"params\":[\"02:00.0\"]}");
	/* 16 are begun; the others are told at once. */
	for (unsigned i = 0; i < 24; i++) {
		a = hear_json(p);
		assert_int_equal(number_at(a, "error.code"), -32003);
		json_object_put(a);
		refused++;
	}
	still_answers(&s);
	for (unsigned i = 0; i < 16; i++)
		sem_post(&s.go);
	for (unsigned i = 0; i < 16; i++) {
		a = hear_json(p);
		assert_string_equal(text_at(a, "result.device"), "0000:02:00.0");
		json_object_put(a);
	}
	assert_int_equal(refused, 24);
	peer_free(p);
	server_down(&s);
}

/* The server goes while clients are in the middle of everything. */
static void test_goes_away(void **state)
{
	struct peer *p[4];
	struct server s;

	server_up(&s, &server_ops);
	for (unsigned i = 0; i < 4; i++)
		p[i] = peer_new(&s);
	say(p[0], "{\"jsonrpc\":\"2.0\",\"method\":");
	say(p[1], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"reset\",\"params\":[\"01:00.0\"]}");
	json_object_put(ask(p[2], "trace", NULL));
	for (unsigned i = 0; i < 200; i++)
		say(p[3], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lspci\"}");
	bar_get(&s.f, 0, REG_ID, 4);
	server_down(&s);
	for (unsigned i = 0; i < 4; i++) {
		char *line;

		while ((line = hear(p[i])))
			free(line);
		peer_free(p[i]);
	}
}

/* Another user gets no further than the door. */
static void test_other_user(void **state)
{
	struct server s;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	server_up(&s, NULL);
	assert_int_equal(chmod(s.dir, 0755), 0);
	assert_int_equal(chmod(s.path, 0666), 0);
	pid = fork();
	if (!pid) {
		char answer[512];
		ssize_t n;
		int fd;

		if (setuid(65534))
			_exit(1);
		fd = control_connect(s.path);
		n = fd < 0 ? 0 : recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL);
		if (n <= 0)
			_exit(2);
		answer[n] = '\0';
		_exit(strstr(answer, "-32004") && strstr(answer, "65534") ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	server_down(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_reads),   cmocka_unit_test(test_late_reader),
		cmocka_unit_test(test_flood),         cmocka_unit_test(test_left_open),
		cmocka_unit_test(test_sends_files),   cmocka_unit_test(test_sends_stalling_files),
		cmocka_unit_test(test_too_many_jobs), cmocka_unit_test(test_goes_away),
		cmocka_unit_test(test_other_user),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
