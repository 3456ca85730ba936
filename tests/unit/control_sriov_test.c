/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `set` and `open`: what a PF's manager asks for, rightly and wrongly; by whom and how often.  The
 * rules of what is set are the core's, and tested there: here is what is said of them.
 */
#include <dirent.h>
#include "control_harness.h"
#include "devices/pcitest/pcitest_model.h"
#include "vfio/host.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"

#define PF     "0000:03:00.0"
#define VF     "0000:03:00.1"
#define PARAMS -32602
#define FAILED -32000

#define SET(device, name, value)                                                                   \
	"{\"device\":\"" device "\",\"name\":\"" name "\",\"value\":" value "}"

static void up(struct server *s, const struct control_ops *ops)
{
	server_up(s, ops);
	assert_int_equal(vfio_machine_add_model(s->f.machine, &pcitest_model), 0);
	fixture_add(&s->f, "pcitest,vfs=4,vf-pool=8,driver=pcitest");
}

static void set(struct peer *p, const char *params)
{
	struct json_object *answer = ask(p, "set", params), *result;

	if (!json_object_object_get_ex(answer, "result", &result))
		fail_msg("%s: %s", params, text_at(answer, "error.message"));
	json_object_put(answer);
}

static unsigned num_vfs(struct server *s)
{
	struct vfio_device *pf = vfio_machine_get_device(s->f.machine, PF);
	unsigned n = vfio_device_num_vfs(pf);

	vfio_device_put(pf);
	return n;
}

/* A number, a string of one, true and "on" are the same. */
static void what_is_said_of_values(void **state)
{
	static const char *const no_values[] = {
		"{\"device\":\"" PF "\",\"name\":\"numvfs\"}",
		SET(PF, "numvfs", "null"),
		SET(PF, "numvfs", "[1]"),
		SET(PF, "numvfs", "{}"),
		SET(PF, "numvfs", "1.5"),
		SET(PF, "numvfs", "\"1\\u0000\""),
		SET(PF, "numvfs", "\"111111111111111111111111111111111111111111111111111111111\""),
	};
	struct server s;
	struct peer *p;

	up(&s, &server_ops);
	p = peer_new(&s);
	for (unsigned i = 0; i < sizeof(no_values) / sizeof(no_values[0]); i++)
		expect_error(p, "set", no_values[i], PARAMS, "\"value\" must be");
	assert_int_equal(num_vfs(&s), 0);
	set(p, SET(PF, "numvfs", "2"));
	assert_int_equal(num_vfs(&s), 2);
	set(p, SET(PF, "numvfs", "\"0\""));
	assert_int_equal(num_vfs(&s), 0);
	set(p, SET(PF, "sriov-drivers-autoprobe", "false"));
	set(p, SET(PF, "numvfs", "\"0x3\""));
	assert_int_equal(num_vfs(&s), 3);
	set(p, SET(PF, "sriov-drivers-autoprobe", "\"on\""));
	expect_error(p, "set", SET(PF, "sriov-drivers-autoprobe", "1"), FAILED, "on and off");
	peer_free(p);
	server_down(&s);
}

struct refusal {
	const char *params;
	int code;
	const char *word;
};

static void what_is_refused(void **state)
{
	/* Of a PF with three VFs, the second of which has a driver. */
	static const struct refusal refusals[] = {
		{NULL, PARAMS, "what can: numvfs"},
		{"{}", PARAMS, "what can: numvfs"},
		{SET(PF, "colour", "1"), PARAMS, "'colour' cannot be set"},
		{SET("", "numvfs", "1"), PARAMS, "no PCI address"},
		{SET("0000:09:00.0", "numvfs", "1"), -32001, "0000:09:00.0"},
		{SET(PF, "numvfs", "1"), FAILED, "has 3 VFs; take these away first: numvfs=0"},
		{SET(PF, "numvfs", "5"), FAILED, "has at most 4 VFs"},
		{SET(PF, "numvfs", "-1"), FAILED, "not a number of VFs"},
		{SET(PF, "numvfs", "70000"), FAILED, "VFs"},
		{SET(PF, "numvfs", "\"x\""), FAILED, "numvfs=x: not a number of VFs"},
		{SET(VF, "numvfs", "1"), FAILED, "no function that can have VFs"},
		{SET("0000:01:00.0", "numvfs", "1"), FAILED, "no function that can have VFs"},
		{SET("0000:01:00.0", "sriov-drivers-autoprobe", "true"), FAILED, "no function"},
		{SET(PF, "msix-vectors", "1"), FAILED, "is no VF"},
		{SET(VF, "msix-vectors", "-1"), FAILED, "not a number of vectors"},
		{SET(VF, "msix-vectors", "\"1 2\""), FAILED, "not a number of vectors"},
		{SET(VF, "msix-vectors", "4000"), FAILED, "has at most"},
		{SET("0000:03:00.2", "msix-vectors", "1"), FAILED, "unbind it first"},
	};
	struct vfio_device *vf;
	struct server s;
	struct peer *p;

	up(&s, &server_ops);
	p = peer_new(&s);
	set(p, SET(PF, "sriov-drivers-autoprobe", "false"));
	set(p, SET(PF, "numvfs", "3"));
	vf = vfio_machine_get_device(s.f.machine, "0000:03:00.2");
	assert_int_equal(vfio_device_bind_to(vf, VFIO_DRIVER_VFIO), 0);
	vfio_device_put(vf);
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		expect_error(p, "set", refusals[i].params, refusals[i].code, refusals[i].word);
	assert_int_equal(num_vfs(&s), 3);
	set(p, SET(VF, "msix-vectors", "3"));
	peer_free(p);
	server_down(&s);
}

/* Many at once, of whom some go before their answer: each change is whole, and the last stays. */
static void by_many(void **state)
{
	struct peer *peers[8], *p;
	struct server s;

	up(&s, &server_ops);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 8; i++) {
			peers[i] = peer_new(&s);
			say(peers[i], i & 1 ? "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set\","
					      "\"params\":" SET(PF, "numvfs", "4") "}"
					    : "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set\","
					      "\"params\":" SET(PF, "numvfs", "0") "}");
		}
		for (unsigned i = 0; i < 8; i++) {
			if (i % 3)
				json_object_put(hear_json(peers[i]));
			peer_free(peers[i]);
		}
		assert_true(num_vfs(&s) % 4 == 0);
	}
	p = peer_new(&s);
	set(p, SET(PF, "numvfs", "0"));
	assert_int_equal(num_vfs(&s), 0);
	peer_free(p);
	server_down(&s);
}

/* ---- open ---- */

static int op_open(void *arg, const char *name, struct uvfio_error *err)
{
	struct server *s = arg;
	int pair[2];

	snprintf(s->added, sizeof(s->added), "%s", name);
	if (strstr(name, "vf_token=bad"))
		return uvfio_error_set(err, -EACCES, "the token is not the one");
	if (strncmp(name, VF, strlen(VF)) != 0)
		return uvfio_error_set(err, -ENODEV, "there is no such device");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send(pair[0], "hello", 5, 0), 5);
	close(pair[0]);
	return pair[1];
}

static const struct control_ops open_ops = {op_add, op_remove, op_describe, NULL, op_open};

#define OPEN "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"open\",\"params\":{\"name\":\"" VF "\"}}"

/* One answer with the socket that came along; its text is @out. */
static int open_answer(struct peer *p, char *out, size_t size)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {out, size - 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(p->fd, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int fd = -1;

	assert_true(n > 0);
	out[n] = '\0';
	if (c) {
		assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(int)));
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	}
	return fd;
}

static void a_socket_comes_with_the_answer(void **state)
{
	char answer[1024], hello[6] = "";
	struct server s;
	struct peer *p;
	int fd;

	up(&s, &open_ops);
	p = peer_new(&s);
	say(p, OPEN);
	fd = open_answer(p, answer, sizeof(answer));
	assert_non_null(strstr(answer, "\"" VF "\""));
	assert_true(fd >= 0);
	assert_int_equal(recv(fd, hello, 5, MSG_WAITALL), 5);
	assert_string_equal(hello, "hello");
	close(fd);
	peer_free(p);
	server_down(&s);
}

static void what_is_not_opened(void **state)
{
	struct json_object *answer;
	struct server s;
	struct peer *p;

	up(&s, &open_ops);
	p = peer_new(&s);
	expect_error(p, "open", NULL, PARAMS, "\"name\" is missing");
	expect_error(p, "open", "{\"name\":7}", PARAMS, "name");
	expect_error(p, "open", "{\"name\":\"0000:09:00.0\"}", -32001, "no such device");
	answer = ask(p, "open", "{\"name\":\"" VF " vf_token=bad\"}");
	assert_string_equal(text_at(answer, "error.data.errno"), "EACCES");
	/* It is in the request alone. */
	assert_null(strstr(json_object_to_json_string(answer), "vf_token"));
	json_object_put(answer);
	say(p, "[" OPEN "]");
	answer = hear_json(p);
	assert_non_null(strstr(text_at(answer, "0.error.message"), "ask for it alone"));
	json_object_put(answer);
	peer_free(p);
	server_down(&s);

	up(&s, &server_ops);
	p = peer_new(&s);
	answer = ask(p, "open", "{\"name\":\"" VF "\"}");
	assert_non_null(strstr(text_at(answer, "error.message"), "has no vfio-user sockets"));
	json_object_put(answer);
	peer_free(p);
	server_down(&s);
}

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Who asks and does not read gets so many, and no descriptor is lost. */
static void who_does_not_read(void **state)
{
	unsigned came = 0, refused = 0, before, after;
	struct server s;
	struct peer *p;

	up(&s, &open_ops);
	before = open_descriptors();
	p = peer_new(&s);
	for (unsigned i = 0; i < 200; i++)
		say(p, OPEN);
	while (came + refused < 200) {
		char answer[65536];
		int fd = open_answer(p, answer, sizeof(answer));

		if (fd >= 0)
			close(fd);
		for (char *line = strtok(answer, "\n"); line; line = strtok(NULL, "\n")) {
			came += strstr(line, "\"result\"") != NULL;
			refused += strstr(line, "\"error\"") != NULL;
		}
	}
	assert_int_equal(came + refused, 200);
	assert_true(came > 0);
	peer_free(p);
	do
		after = open_descriptors();
	while (after > before);
	server_down(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_said_of_values),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(by_many),
		cmocka_unit_test(a_socket_comes_with_the_answer),
		cmocka_unit_test(what_is_not_opened),
		cmocka_unit_test(who_does_not_read),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
