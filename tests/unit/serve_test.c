/* SPDX-License-Identifier: BSD-3-Clause */
/* src/serve: a device's options, what they name, where an NBD URI leads, and the channel. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "control/control.h"
#include "serve/broker.h"
#include "serve/channel.h"
#include "serve/outbox.h"
#include "serve/socket.h"
#include "serve/spec.h"

static void options_are_told_apart(void **state)
{
	static const struct {
		const char *text, *device, *socket, *group;
		unsigned mode;
	} cases[] = {
		{"nvme,memory=1M,socket=a", "nvme,memory=1M", "a", NULL, 0600},
		{"nvme,socket=a,memory=1M,mode=0660,group=kvm", "nvme,memory=1M", "a", "kvm", 0660},
		{"nvme,group=7,socket=a,group=kvm", "nvme,group=7", "a", "kvm", 0600},
		{"nvme,socket=a,,b,serial=x,,socket=y", "nvme,serial=x,,socket=y", "a,b", NULL,
		 0600},
		{"nvme,file=a=b", "nvme,file=a=b", NULL, NULL, 0600},
		{"nvme,,x,mode=777", "nvme,,x", NULL, NULL, 0777},
		{"nvme", "nvme", NULL, NULL, 0600},
		{"", "", NULL, NULL, 0600},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct uvfio_error err = {""};
		struct serve_spec spec;

		assert_int_equal(serve_spec_parse(cases[i].text, &spec, &err), 0);
		assert_string_equal(spec.device, cases[i].device);
		assert_int_equal(spec.mode, cases[i].mode);
		assert_string_equal(spec.socket ? spec.socket : "-",
				    cases[i].socket ? cases[i].socket : "-");
		assert_string_equal(spec.group ? spec.group : "-",
				    cases[i].group ? cases[i].group : "-");
		serve_spec_fini(&spec);
	}
}

static void wrong_options_are_named(void **state)
{
	static const char *const cases[][2] = {
		{"nvme,socket=a,socket=b", "socket="},
		{"nvme,socket=", "socket="},
		{"nvme,mode=9", "mode=9"},
		{"nvme,mode=-1", "mode=-1"},
		{"nvme,mode=0400", "mode=0400"},
		{"nvme,mode=01777", "mode=01777"},
		{"nvme,mode=", "mode="},
		{"nvme,mode=0660,mode=0660", "twice"},
		{"nvme,group=a,group=b", "twice"},
		{"nvme,mmap=perhaps", "perhaps"},
		{"nvme,spin=-1", "spin"},
		{"nvme,spin=1000001", "1000001"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct uvfio_error err = {""};
		struct serve_spec spec;

		assert_int_equal(serve_spec_parse(cases[i][0], &spec, &err), -EINVAL);
		assert_non_null(strstr(err.msg, cases[i][1]));
		serve_spec_fini(&spec);
	}
}

static void only_what_is_named_is_opened(void **state)
{
	static const char device[] = "nvme,file=/a,,b,ns=file=/c:readonly=on,ns=file=/d::e,"
				     "nbd=nbd://h:1/x,socket=/s";
	static const char *const named[] = {"/a,b", "/c", "/d:e", "nbd://h:1/x", "on"};
	static const char *const others[] = {"/a",      "/b",   "/",    "",  "/c:readonly=on",
					     "/d",      "e",    "nvme", "h", "/etc/passwd",
					     "file=/c", "/a,,b"};

	for (unsigned i = 0; i < sizeof(named) / sizeof(*named); i++)
		assert_true(serve_spec_names(device, named[i], false));
	for (unsigned i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_false(serve_spec_names(device, others[i], false));
}

static void what_is_readonly_is_not_written(void **state)
{
	static const char two[] = "nvme,ns=file=a.img:readonly=on,ns=file=b.img,socket=s";

	assert_true(serve_spec_names("nvme,file=a.img", "a.img", true));
	assert_true(serve_spec_names("nvme,readonly=off,file=a.img", "a.img", true));
	assert_true(serve_spec_names("nvme,file=a.img,readonly=on", "a.img", false));
	assert_false(serve_spec_names("nvme,file=a.img,readonly=on", "a.img", true));
	assert_false(serve_spec_names("nvme,readonly=yes,file=a.img", "a.img", true));
	assert_true(serve_spec_names(two, "a.img", false));
	assert_false(serve_spec_names(two, "a.img", true));
	assert_true(serve_spec_names(two, "b.img", true));
}

static void uris_lead_somewhere(void **state)
{
	static const struct {
		const char *uri, *host, *port, *path;
		int ret;
	} cases[] = {
		{"nbd://host/x", "host", "10809", "", 0},
		{"nbd://host:99", "host", "99", "", 0},
		{"nbd://user@host:99/", "host", "99", "", 0},
		{"nbd://[::1]:5/x", "::1", "5", "", 0},
		{"nbd://[::1]/x", "::1", "10809", "", 0},
		{"nbd+unix:///x?socket=/tmp/s", "", "10809", "/tmp/s", 0},
		{"nbd+unix:///x?a=b&socket=%2ftmp%2Fs%20s&c=d", "", "10809", "/tmp/s s", 0},
		{"nbd+unix:///x", "", "", "", -EINVAL},
		{"nbd+unix:///x?socket=", "", "", "", -EINVAL},
		{"nbd+unix:///x?socket=%", "", "", "", -EINVAL},
		{"nbd+unix:///x?socket=%0", "", "", "", -EINVAL},
		{"nbd+unix:///x?socket=a%00b", "", "", "", -EINVAL},
		{"nbd:///x", "", "", "", -EINVAL},
		{"nbd://[::1/x", "", "", "", -EINVAL},
		{"nbd://h:/x", "", "", "", -EINVAL},
		{"nbds://host/x", "", "", "", -EPROTONOSUPPORT},
		{"http://host/x", "", "", "", -EPROTONOSUPPORT},
		{"", "", "", "", -EPROTONOSUPPORT},
	};
	struct serve_target target;
	char longer[600];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(serve_parse_uri(cases[i].uri, &target), cases[i].ret);
		if (cases[i].ret)
			continue;
		assert_string_equal(target.host, cases[i].host);
		assert_string_equal(target.port, cases[i].port);
		assert_string_equal(target.path, cases[i].path);
	}
	memset(longer, 'x', sizeof(longer));
	memcpy(longer, "nbd://", 6);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(serve_parse_uri(longer, &target) < 0);
}

static void send_two(int sock, const struct serve_message *msg, int fd)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec iov = {(void *)(uintptr_t)msg, sizeof(*msg)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int fds[2] = {fd, fd};

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	assert_int_equal(sendmsg(sock, &m, 0), (ssize_t)sizeof(*msg));
}

static void messages_arrive_whole(void **state)
{
	const struct serve_message sent = {SERVE_ADD, -5, 77};
	char *text = malloc(SERVE_MAX_TEXT), *longest = malloc(SERVE_MAX_TEXT + 1);
	struct serve_message got;
	int pair[2], ends[2], fd;

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(serve_send(pair[0], &sent, "hello", 1), 0);
	assert_int_equal(serve_receive(pair[1], &got, text, &fd), 1);
	assert_memory_equal(&got, &sent, sizeof(got));
	assert_string_equal(text, "hello");
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	/* One that nobody wants the text of. */
	assert_int_equal(serve_send(pair[0], &sent, "hello", -1), 0);
	assert_int_equal(serve_receive(pair[1], &got, NULL, &fd), 1);
	assert_int_equal(fd, -1);
	/* The longest, and one more. */
	memset(longest, 'x', SERVE_MAX_TEXT);
	longest[SERVE_MAX_TEXT] = '\0';
	assert_int_equal(serve_send(pair[0], &sent, longest, -1), -EMSGSIZE);
	longest[SERVE_MAX_TEXT - 1] = '\0';
	assert_int_equal(serve_send(pair[0], &sent, longest, -1), 0);
	assert_int_equal(serve_receive(pair[1], &got, text, &fd), 1);
	assert_string_equal(text, longest);
	/* A second descriptor is not kept. */
	send_two(pair[0], &sent, ends[1]);
	close(ends[1]);
	assert_int_equal(serve_receive(pair[1], &got, text, &fd), 1);
	close(fd);
	assert_int_equal(read(ends[0], text, 1), 0);
	close(ends[0]);
	/* Less than a header; then the end. */
	assert_int_equal(send(pair[0], "x", 1, 0), 1);
	assert_int_equal(serve_receive(pair[1], &got, text, &fd), -EPROTO);
	close(pair[0]);
	assert_int_equal(serve_receive(pair[1], &got, text, &fd), 0);
	close(pair[1]);
	free(text);
	free(longest);
}

/* Nobody reads: nothing waits, a few messages are kept, and come in order. */
static void sending_does_not_wait(void **state)
{
	char *text = malloc(SERVE_MAX_TEXT), *longest = malloc(SERVE_MAX_TEXT);
	struct serve_message msg = {.kind = SERVE_ADD}, got;
	struct serve_outbox box = {.sock = -1};
	int pair[2], ends[2], fd, ret = 0;
	uint64_t id = 0, expect = 0;

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	box.sock = pair[0];
	assert_int_equal(fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK), 0);
	memset(longest, 'x', SERVE_MAX_TEXT - 1);
	longest[SERVE_MAX_TEXT - 1] = '\0';
	while (!ret) {
		msg.id = id;
		ret = serve_outbox_send(&box, &msg, longest, ends[1]);
		id += !ret;
	}
	assert_int_equal(ret, -ENOBUFS);
	assert_int_equal(box.nr, SERVE_OUTBOX_MAX);
	assert_true(id > SERVE_OUTBOX_MAX);
	close(ends[1]);
	while (expect < id) {
		assert_int_equal(serve_receive(pair[1], &got, text, &fd), 1);
		assert_int_equal(got.id, expect);
		assert_string_equal(text, longest);
		assert_int_equal(write(fd, "", 1), 1);
		close(fd);
		expect++;
		serve_outbox_flush(&box);
	}
	assert_int_equal(box.nr, 0);
	/* Each came with the descriptor, and none is left. */
	assert_int_equal(read(ends[0], text, SERVE_MAX_TEXT), (ssize_t)id);
	assert_int_equal(read(ends[0], text, 1), 0);
	/* The other side goes while something waits. */
	while (!box.nr)
		assert_int_equal(serve_outbox_send(&box, &msg, longest, -1), 0);
	close(pair[1]);
	assert_int_equal(serve_outbox_send(&box, &msg, NULL, -1), -EPIPE);
	assert_int_equal(box.nr, 0);
	serve_outbox_fini(&box);
	close(pair[0]);
	close(ends[0]);
	free(text);
	free(longest);
}

static char *answered(const char *asked, int flags, int *fd)
{
	const struct serve_message msg = {.kind = SERVE_OPEN, .value = flags};
	static char why[32];
	struct serve_message got;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	serve_answer(&msg, asked, pair[1]);
	close(pair[1]);
	assert_int_equal(serve_receive(pair[0], &got, NULL, fd), 1);
	close(pair[0]);
	snprintf(why, sizeof(why), "%s", got.value ? strerrorname_np(-got.value) : "ok");
	return why;
}

static void files_are_opened_as_asked_and_no_more(void **state)
{
	char path[] = "/tmp/uvfio-serve-test.XXXXXX";
	int file = mkstemp(path), fd;

	assert_true(file >= 0);
	assert_string_equal(answered(path, O_RDWR, &fd), "ok");
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	close(fd);
	assert_string_equal(answered(path, O_RDONLY, &fd), "ok");
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	assert_string_equal(answered(path, O_WRONLY, &fd), "EPERM");
	assert_string_equal(answered(path, O_RDWR | O_TRUNC, &fd), "EPERM");
	assert_string_equal(answered(path, O_RDWR | O_APPEND, &fd), "EPERM");
	assert_string_equal(answered("/tmp", O_RDWR | O_TMPFILE, &fd), "EPERM");
	unlink(path);
	assert_string_equal(answered(path, O_RDWR | O_CREAT, &fd), "EPERM");
	assert_string_equal(answered(path, O_RDWR, &fd), "ENOENT");
	assert_int_equal(fd, -1);
	close(file);
}

/* Whoever may write to the directory puts something else in the socket's place. */
static void only_a_socket_is_given_rights(void **state)
{
	char dir[] = "/tmp/uvfio-serve-test.XXXXXX", path[64], file[64];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	snprintf(file, sizeof(file), "%s/file", dir);
	fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(symlink(file, path), 0);
	assert_int_equal(control_socket_rights(path, (gid_t)-1, 0666), -EEXIST);
	assert_int_equal(control_socket_rights(file, (gid_t)-1, 0666), -EEXIST);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	unlink(path);
	assert_int_equal(control_socket_rights(path, (gid_t)-1, 0666), -ENOENT);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(control_socket_rights(path, getgid(), 0642), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0642);
	close(fd);
	unlink(path);
	unlink(file);
	rmdir(dir);
}

/* A server that was killed, and of whose files somebody else keeps the kernel from letting go until
 * the next one has asked: what an io_uring does for a moment. */
static void a_dying_server_makes_way(void **state)
{
	char path[] = "/tmp/serve_test.XXXXXX";
	struct uvfio_error err = {""};
	siginfo_t info;
	int fd, ready[2];
	pid_t pid;
	char got;

	close(mkstemp(path));
	unlink(path);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		fd = serve_listen(path, 0600, NULL, &err);
		fcntl(fd, F_SETFL, 0);
		if (fd >= 0 && !fork()) {
			/* Its end is the answer to the first who comes. */
			accept(fd, NULL, NULL);
			_exit(0);
		}
		if (fd >= 0 && write(ready[1], "r", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &got, 1), 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WNOWAIT | WEXITED), 0);
	fd = serve_listen(path, 0600, NULL, &err);
	assert_string_equal(err.msg, "");
	assert_true(fd >= 0);
	close(fd);
	close(ready[0]);
	waitpid(pid, NULL, 0);

	/* One that lives is in the way. */
	fd = serve_listen(path, 0600, NULL, &err);
	assert_true(fd >= 0);
	assert_int_equal(serve_listen(path, 0600, NULL, &err), -EADDRINUSE);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_told_apart),
		cmocka_unit_test(a_dying_server_makes_way),
		cmocka_unit_test(wrong_options_are_named),
		cmocka_unit_test(only_what_is_named_is_opened),
		cmocka_unit_test(what_is_readonly_is_not_written),
		cmocka_unit_test(uris_lead_somewhere),
		cmocka_unit_test(only_a_socket_is_given_rights),
		cmocka_unit_test(messages_arrive_whole),
		cmocka_unit_test(sending_does_not_wait),
		cmocka_unit_test(files_are_opened_as_asked_and_no_more),
	};

	alarm(100); /* what waits for ever */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
