/* SPDX-License-Identifier: BSD-3-Clause */
/* src/control/: the methods, and JSON-RPC itself. */
#include <sys/wait.h>
#include "control_harness.h"
#include "support/send_fds.h"

#define IOVA 0x40000000ull

/* ---- JSON-RPC ---- */

static void test_edge_cases(void **state)
{
	static const struct {
		const char *says, *hears; /* NULL: nothing but the answer to what comes next */
	} table[] = {
		/* An id comes back as what it was. */
		{"{\"jsonrpc\":\"2.0\",\"method\":\"nosuch\",\"id\":\"x\"}", "\"id\":\"x\""},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"nosuch\",\"id\":1.5}", "\"id\":1.5"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"nosuch\",\"id\":null}", "\"id\":null"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"nosuch\",\"id\":7}", "-32601"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"id\":[1]}", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"id\":true}", "-32600"},
		/* Notifications are not answered, whatever is wrong with them. */
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\"}", NULL},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"nosuch\"}", NULL},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"show\",\"params\":{\"device\":5}}", NULL},
		/* Not requests. */
		{"{}", "-32600"},
		{"1 ", "-32600"},
		{"null ", "-32600"},
		{"\"list\"", "-32600"},
		{"{\"method\":\"list\",\"id\":1}", "-32600"},
		{"{\"jsonrpc\":2.0,\"method\":\"list\",\"id\":1}", "-32600"},
		{"{\"jsonrpc\":\"1.0\",\"method\":\"list\",\"id\":1}", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"method\":1,\"id\":1}", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"params\":1,\"id\":1}", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"params\":null,\"id\":1}", "-32600"},
		/* Not JSON: skipped to the end of the line. */
		{"nonsense {}\n", "-32700"},
		{"{\"jsonrpc\":\"2.0\",\"method\"\n", NULL}, /* goes on below */
		{"}\n", "-32700"},
		{"{'jsonrpc':'2.0'}\n", "-32700"},
		{"// comment\n", "-32700"},
		{"\"\xff\xfe\"\n", "-32700"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"id\":NaN}\n", "-32600"},
		{"[1,]\n", "-32700"},
		{"[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]\n", "-32700"},
		/* Batches. */
		{"[]", "-32600"},
		{"[1]", "[{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600"},
		{"[{\"jsonrpc\":\"2.0\",\"method\":\"list\"}]", NULL},
		{"[{\"jsonrpc\":\"2.0\",\"method\":\"nosuch\",\"id\":1},"
		 "{\"jsonrpc\":\"2.0\",\"method\":\"list\"},"
		 "{\"jsonrpc\":\"2.0\",\"method\":\"nosuch\",\"id\":2}]",
		 "\"id\":2"},
		/* Parameters by position, too many, of a wrong name or type. */
		{"{\"jsonrpc\":\"2.0\",\"method\":\"faults\",\"params\":[\"01:00.0\"],\"id\":3}",
		 "\"total\":0"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"params\":[1],\"id\":3}", "-32602"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"show\",\"params\":[1,2,3,4,5,6,7],\"id\":3}",
		 "-32602"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"params\":{\"a\":1},\"id\":3}",
		 "no parameter \\\"a\\\""},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"show\",\"params\":{\"device\":\"a\\u0000b\"},"
		 "\"id\":3}",
		 "zero bytes"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"show\",\"params\":{\"device\":7},\"id\":3}",
		 "-32602"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"params\":{\"offset\":-1},\"id\":3}",
		 "-32602"},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"params\":{\"limit\":\"1\"},\"id\":3}",
		 "-32602"},
	};
	struct server s;
	struct peer *p;

	server_up(&s, NULL);
	p = peer_new(&s);
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char *line;

		say(p, table[i].says);
		if (!table[i].hears)
			continue;
		line = hear(p);
		assert_non_null(line);
		if (!strstr(line, table[i].hears))
			fail_msg("%s: wanted %s, got %s", table[i].says, table[i].hears, line);
		free(line);
	}
	peer_free(p);
	server_down(&s);
}

static void test_framing(void **state)
{
	static const char request[] =
		" \n{\"jsonrpc\":\"2.0\",\r\n\"id\":1,\"method\":\"version\"}";
	struct json_object *answer;
	char *big, *line;
	struct server s;
	struct peer *p;

	server_up(&s, NULL);
	p = peer_new(&s);
	/* Byte by byte. */
	for (unsigned i = 0; request[i]; i++)
		say_bytes(p, request + i, 1);
	answer = hear_json(p);
	assert_string_equal(text_at(answer, "result.machine"), "test");
	json_object_put(answer);
	/* Several in one piece, and half of another. */
	say(p,
	    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"version\"}"
	    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"version\"}\n{\"jsonrpc\":\"2.0\",\"id\"");
	for (int id = 2; id < 4; id++) {
		answer = hear_json(p);
		assert_int_equal(number_at(answer, "id"), id);
		json_object_put(answer);
	}
	say(p, ":4,\"method\":\"version\"}");
	answer = hear_json(p);
	assert_int_equal(number_at(answer, "id"), 4);
	json_object_put(answer);
	/* A zero byte is not the end of anything. */
	say_bytes(p, "{\"a\":\0}\n", 8);
	line = hear(p);
	assert_non_null(strstr(line, "-32700"));
	free(line);
	/* Too long is refused and skipped, what follows is heard. */
	big = malloc(200000);
	memset(big, 'x', 200000);
	big[0] = '"';
	big[199999] = '\0';
	say(p, big);
	line = hear(p);
	assert_non_null(strstr(line, "longer than 65536"));
	free(line);
	say(p, "\n");
	answer = ask(p, "version", NULL);
	assert_string_equal(text_at(answer, "result.command"), "unit-test");
	json_object_put(answer);
	/* A batch that is too long. */
	big[0] = '[';
	for (unsigned i = 0; i < 100; i++)
		strcpy(big + 1 + 2 * i, "1,");
	strcpy(big + 200, "]");
	say(p, big);
	line = hear(p);
	assert_non_null(strstr(line, "a batch has 1 to 64"));
	free(line);
	free(big);
	/* Who ends the sending half still gets the answers. */
	say(p, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"list\"}");
	shutdown(p->fd, SHUT_WR);
	answer = hear_json(p);
	assert_int_equal(number_at(answer, "id"), 5);
	json_object_put(answer);
	assert_null(hear(p));
	peer_free(p);
	server_down(&s);
}

static void test_batch_waits_for_jobs(void **state)
{
	struct json_object *answer;
	struct server s;
	struct peer *p, *q;

	server_up(&s, &server_ops);
	s.hold = true;
	p = peer_new(&s);
	q = peer_new(&s);
	say(p,
	    "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"remove\",\"params\":[\"01:00.0\",true]},"
	    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"version\"}]");
	sem_wait(&s.entered);
	/* Nobody waits for it. */
	answer = ask(q, "list", NULL);
	assert_int_equal(number_at(answer, "result.total"), 2);
	json_object_put(answer);
	answer = ask(q, "reset", "[\"0000:02:00.0\"]");
	assert_string_equal(text_at(answer, "result.device"), "0000:02:00.0");
	json_object_put(answer);
	/* A second client leaves while its own is being done. */
	say(q, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"remove\",\"params\":[\"02:00.0\"]}");
	sem_wait(&s.entered);
	peer_free(q);
	sem_post(&s.go);
	sem_post(&s.go);
	answer = hear_json(p);
	assert_int_equal(json_object_array_length(answer), 2);
	assert_int_equal(number_at(answer, "0.id"), 2);
	assert_string_equal(text_at(answer, "1.result.device"), "0000:01:00.0");
	json_object_put(answer);
	peer_free(p);
	server_down(&s);
}

/* ---- methods ---- */

static void test_list_and_show(void **state)
{
	static const struct vfio_who who = {"vfio", 77};
	static const char name[] = "0000:01:00.0";
	struct json_object *a;
	struct server s;
	struct peer *p;

	server_up(&s, &server_ops);
	p = peer_new(&s);
	vfio_device_release(s.f.df);
	s.f.client->pid = 4711;
	s.f.client->who = &who;
	assert_int_equal(vfio_group_get_device(s.f.gf, s.f.client, (uintptr_t)name, &s.f.df), 0);
	config_put(&s.f, PCI_COMMAND, 2, COMMAND_ON);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(dma_map(&s.f, IOVA + i * 8192ull, 0, 4096, 3), 0);

	a = ask(p, "list", NULL);
	assert_string_equal(text_at(a, "result.machine"), "test");
	assert_int_equal(number_at(a, "result.total"), 2);
	assert_string_equal(text_at(a, "result.devices.0.device"), name);
	assert_string_equal(text_at(a, "result.devices.0.model"), "probe");
	assert_int_equal(number_at(a, "result.devices.0.vendor_id"), 0x1b36);
	assert_int_equal(number_at(a, "result.devices.0.group"), 1);
	assert_int_equal(number_at(a, "result.devices.0.open"), 1);
	assert_int_equal(number_at(a, "result.devices.0.users.0.pid"), 4711);
	assert_int_equal(number_at(a, "result.devices.0.users.0.uid"), 77);
	assert_int_equal(number_at(a, "result.devices.1.open"), 0);
	json_object_put(a);
	a = ask(p, "list", "{\"limit\":1}");
	assert_int_equal(number_at(a, "result.next"), 1);
	assert_int_equal(json_object_array_length(at(a, "result.devices")), 1);
	json_object_put(a);
	a = ask(p, "list", "{\"offset\":1}");
	assert_string_equal(text_at(a, "result.devices.0.device"), "0000:02:00.0");
	assert_false(json_object_object_get_ex(at(a, "result"), "next", NULL));
	json_object_put(a);

	a = ask(p, "show", "{\"device\":\"01:00.0\"}");
	assert_string_equal(text_at(a, "result.users.0.door"), "vfio");
	assert_true(json_object_get_boolean(at(a, "result.bus.memory")));
	assert_true(json_object_get_boolean(at(a, "result.bus.bus_master")));
	assert_string_equal(text_at(a, "result.bus.power"), "D0");
	assert_string_equal(text_at(a, "result.regions.0.name"), "bar0");
	assert_string_equal(text_at(a, "result.regions.0.type"), "mem64");
	assert_string_equal(text_at(a, "result.regions.0.areas.2.kind"), "doorbells");
	assert_string_equal(text_at(a, "result.regions.4.name"), "config");
	assert_string_equal(text_at(a, "result.interrupts.2.name"), "msix");
	assert_int_equal(number_at(a, "result.interrupts.2.count"), 8);
	assert_int_equal(number_at(a, "result.dma.total"), 40);
	assert_int_equal(json_object_array_length(at(a, "result.dma.mappings")), 16);
	assert_int_equal(number_at(a, "result.dma.next"), IOVA + 15 * 8192 + 4096);
	assert_string_equal(text_at(a, "result.dma.mappings.0.access"), "rw");
	assert_string_equal(text_at(a, "result.dma.mappings.0.memory"), "file");
	assert_string_equal(text_at(a, "result.door.socket"), "/x.sock");
	json_object_put(a);
	a = ask(p, "show",
		"{\"device\":\"01:00.0\",\"mappings_from\":1073872896,\"mappings_limit\":256}");
	assert_int_equal(number_at(a, "result.dma.mappings.0.iova"), 1073872896);
	assert_int_equal(json_object_array_length(at(a, "result.dma.mappings")), 24);
	json_object_put(a);

	expect_error(p, "show", NULL, -32602, "missing");
	expect_error(p, "show", "[\"zz\"]", -32602, "0000:01:00.0");
	expect_error(p, "show", "[\"0000:07:00.0\"]", -32001, "uvfio list");
	expect_error(p, "show", "{\"device\":\"01:00.0\",\"mappings_limit\":257}", -32602, "256");
	peer_free(p);
	server_down(&s);
}

static void test_lspci_stats_faults(void **state)
{
	struct json_object *a;
	struct server s;
	struct peer *p;

	server_up(&s, NULL);
	p = peer_new(&s);
	a = ask(p, "lspci", NULL);
	assert_int_equal(json_object_array_length(at(a, "result.devices")), 2);
	assert_int_equal(strlen(text_at(a, "result.devices.0.config")), 8192);
	assert_memory_equal(text_at(a, "result.devices.0.config"), "361b4200", 8);
	json_object_put(a);

	assert_int_equal(probe_command(&s.f, CMD_READ, 0x1000, 16), -EPERM);
	for (unsigned i = 0; i < 100; i++)
		uvfio_histogram_add(&s.f.probe->times, 1000 * (i + 1));
	a = ask(p, "faults", "[\"01:00.0\"]");
	assert_int_equal(number_at(a, "result.devices.0.total"), 1);
	assert_int_equal(number_at(a, "result.devices.0.faults.0.iova"), 0x1000);
	assert_int_equal(number_at(a, "result.devices.0.faults.0.length"), 16);
	assert_int_equal(number_at(a, "result.devices.0.faults.0.space"), 1);
	assert_string_equal(text_at(a, "result.devices.0.faults.0.access"), "read");
	assert_string_equal(text_at(a, "result.devices.0.faults.0.reason"), "bus-master");
	assert_string_equal(text_at(a, "result.devices.0.faults.0.errno"), "EPERM");
	json_object_put(a);
	a = ask(p, "stats", "[\"01:00.0\"]");
	assert_int_equal(number_at(a, "result.devices.0.counters.dma_faults"), 1);
	assert_string_equal(text_at(a, "result.devices.0.model_stats.0.name"), "resets");
	assert_string_equal(text_at(a, "result.devices.0.model_stats.0.type"), "counter");
	assert_string_equal(text_at(a, "result.devices.0.model_stats.1.labels.kind"), "a \"b\"");
	assert_int_equal(number_at(a, "result.devices.0.model_stats.2.count"), 100);
	assert_int_equal(number_at(a, "result.devices.0.model_stats.2.sum_ns"), 5050000);
	assert_in_range(number_at(a, "result.devices.0.model_stats.2.p50_ns"), 50000, 57000);
	assert_int_equal(number_at(a, "result.devices.0.model_stats.2.buckets.0.1"), 1);
	json_object_put(a);
	peer_free(p);
	server_down(&s);
}

static void test_reset(void **state)
{
	struct json_object *a;
	struct server s;
	struct peer *p;

	server_up(&s, NULL);
	p = peer_new(&s);
	config_put(&s.f, PCI_COMMAND, 2, COMMAND_ON);
	bar_put(&s.f, 0, REG_SCRATCH, 4, 5);
	a = ask(p, "reset", "[\"01:00.0\"]");
	assert_string_equal(text_at(a, "result.device"), "0000:01:00.0");
	json_object_put(a);
	assert_int_equal(s.f.probe->resets[UVFIO_RESET_FUNCTION], 1);
	assert_int_equal(bar_get(&s.f, 0, REG_SCRATCH, 4), 0);
	/* A notification is done too. */
	say(p, "{\"jsonrpc\":\"2.0\",\"method\":\"reset\",\"params\":[\"01:00.0\"]}");
	a = ask(p, "reset", "[\"01:00.0\"]");
	json_object_put(a);
	peer_free(p);
	server_down(&s);
	/* The server has waited for both. */
}

static void test_add_and_remove(void **state)
{
	static const char request[] =
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"add\",\"params\":{\"device\":"
		"\"nvme,file=a.img\",\"fds\":[{\"key\":\"file\",\"value\":\"a.img\"},"
		"{\"key\":\"socket\"}]}}";
	struct iovec iov = {(void *)request, sizeof(request) - 1};
	struct json_object *a;
	struct server s;
	struct peer *p;
	int fds[2], pipefd[2];
	char byte;

	server_up(&s, &server_ops);
	p = peer_new(&s);
	fds[0] = memfd_create("a.img", MFD_CLOEXEC);
	assert_int_equal(write(fds[0], "content", 7), 7);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	fds[1] = pipefd[1];
	assert_int_equal(sendmsg_fds(p->fd, &iov, 1, fds, 2), sizeof(request) - 1);
	close(pipefd[1]);
	close(fds[0]);
	a = hear_json(p);
	assert_string_equal(text_at(a, "result.device"), "0000:09:00.0");
	json_object_put(a);
	assert_string_equal(s.added, "nvme,file=a.img");
	assert_string_equal(s.fd_keys, "file=a.img socket= ");
	assert_string_equal(s.fd_bytes, "content");
	/* The server has closed what it was sent. */
	assert_int_equal(read(pipefd[0], &byte, 1), 0);
	close(pipefd[0]);
	/* Files that no request takes are closed as well, and named ones must have come. */
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	fds[0] = fds[1] = pipefd[1];
	iov = (struct iovec){(void *)"\n", 1};
	assert_int_equal(sendmsg_fds(p->fd, &iov, 1, fds, 2), 1);
	close(pipefd[1]);
	assert_int_equal(read(pipefd[0], &byte, 1), 0);
	close(pipefd[0]);
	expect_error(p, "add", "{\"device\":\"nvme\",\"fds\":[{\"key\":\"file\"}]}", -32602,
		     "0 came");
	expect_error(p, "add", "{\"device\":\"nvme\",\"fds\":1}", -32602, "array");
	expect_error(p, "add", NULL, -32602, "missing");
	expect_error(p, "add", "{\"device\":\"bad\"}", -32000, "no such model");
	a = ask(p, "add", "{\"device\":\"bad\"}");
	assert_string_equal(text_at(a, "error.data.errno"), "EINVAL");
	json_object_put(a);

	a = ask(p, "remove", "{\"device\":\"02:00.0\",\"force\":true}");
	json_object_put(a);
	assert_string_equal(s.removed, "0000:02:00.0");
	assert_true(s.forced);
	expect_error(p, "remove", "[\"0000:07:00.0\"]", -32001, "no device");
	expect_error(p, "remove", "[\"0000:01:00.0\",1]", -32602, "true or false");
	peer_free(p);
	server_down(&s);

	server_up(&s, &server_no_ops);
	p = peer_new(&s);
	expect_error(p, "remove", "[\"0000:01:00.0\"]", -32002, "stay");
	expect_error(p, "add", "[\"nvme\"]", -32002, "unit-test");
	peer_free(p);
	server_down(&s);
}

/* ---- events ---- */

static void expect_event(struct peer *p, const char *event, const char *path, const char *value)
{
	struct json_object *a = hear_json(p);

	assert_string_equal(text_at(a, "method"), "event");
	assert_string_equal(text_at(a, "params.event"), event);
	if (path)
		assert_string_equal(text_at(a, path), value);
	json_object_put(a);
}

static void test_trace(void **state)
{
	struct json_object *a, *fault;
	struct server s;
	struct peer *p;

	server_up(&s, NULL);
	p = peer_new(&s);
	a = ask(p, "trace", "{\"device\":\"01:00.0\"}");
	assert_int_equal(number_at(a, "result.subscription"), 1);
	json_object_put(a);
	bar_get(&s.f, 0, REG_ID, 4);
	expect_event(p, "region-read", "params.region", "bar0");
	config_put(&s.f, PCI_COMMAND, 2, COMMAND_ON);
	expect_event(p, "region-write", "params.value", "0x7");
	assert_int_equal(dma_map(&s.f, IOVA, 0, 4096, 3), 0);
	expect_event(p, "dma-map", "params.iova", "0x40000000");
	assert_int_equal(dma_unmap(&s.f, IOVA, 4096, NULL), 0);
	expect_event(p, "dma-unmap", "params.device", "0000:01:00.0");
	/* The writes that it takes are told as well, the last one perhaps after what came of it. */
	assert_int_equal(probe_command(&s.f, CMD_READ, IOVA, 16), -EFAULT);
	fault = NULL;
	for (unsigned i = 0; i < 4; i++) {
		a = hear_json(p);
		if (!fault && !strcmp(text_at(a, "params.event"), "fault")) {
			fault = a;
			continue;
		}
		assert_string_equal(text_at(a, "params.event"), "region-write");
		json_object_put(a);
	}
	assert_non_null(fault);
	a = fault;
	assert_string_equal(text_at(a, "params.device"), "0000:01:00.0");
	assert_int_equal(number_at(a, "params.space"), 1);
	assert_string_equal(text_at(a, "params.iova"), "0x40000000");
	assert_string_equal(text_at(a, "params.length"), "0x10");
	assert_string_equal(text_at(a, "params.access"), "read");
	assert_string_equal(text_at(a, "params.reason"), "the address is not mapped");
	assert_true(number_at(a, "params.time_ns") > 0);
	json_object_put(a);
	expect_event(p, "region-read", NULL, NULL);
	assert_int_equal(dev_ioctl(&s.f, VFIO_DEVICE_RESET, NULL), 0);
	expect_event(p, "reset", "params.kind", "function");
	a = ask(p, "untrace", "[1]");
	json_object_put(a);
	expect_error(p, "untrace", "[1]", -32602, "no subscription 1");
	/* Only what was asked for, and only the device's. */
	a = ask(p, "trace", "{\"device\":\"02:00.0\",\"events\":[\"reset\"]}");
	json_object_put(a);
	a = ask(p, "trace", "{\"events\":[\"open\",\"close\"]}");
	assert_int_equal(number_at(a, "result.subscription"), 3);
	json_object_put(a);
	bar_get(&s.f, 0, REG_ID, 4);
	assert_int_equal(dev_ioctl(&s.f, VFIO_DEVICE_RESET, NULL), 0);
	vfio_device_release(s.f.df);
	s.f.df = NULL;
	expect_event(p, "close", "params.subscription", "3");
	expect_error(p, "trace", "{\"events\":[\"nosuch\"]}", -32602, "region-read");
	expect_error(p, "trace", "{\"events\":\"open\"}", -32602, "array");
	expect_error(p, "trace", "{\"device\":\"07:00.0\"}", -32001, "no device");
	for (unsigned i = 0; i < 6; i++)
		json_object_put(ask(p, "trace", NULL));
	expect_error(p, "trace", NULL, -32003, "too many");
	peer_free(p);
	server_down(&s);
}

/* Who does not read loses events and is told how many; the device does not wait. */
static void test_trace_drops(void **state)
{
	uint64_t events = 0, dropped = 0;
	const unsigned total = 20000;
	struct json_object *a;
	struct server s;
	struct peer *p;

	server_up(&s, NULL);
	p = peer_new(&s);
	a = ask(p, "trace", "{\"events\":[\"region-read\"]}");
	json_object_put(a);
	for (unsigned i = 0; i < total; i++)
		bar_get(&s.f, 0, REG_ID, 4);
	while (events + dropped < total) {
		struct json_object *lost;

		a = hear_json(p);
		if (json_object_object_get_ex(at(a, "params"), "dropped", &lost))
			dropped += json_object_get_uint64(lost);
		events += strcmp(text_at(a, "params.event"), "dropped") != 0;
		json_object_put(a);
	}
	assert_int_equal(events + dropped, total);
	assert_true(dropped > 0);
	assert_true(events > 100);
	peer_free(p);
	server_down(&s);
}

/* ---- places ---- */

static void test_paths(void **state)
{
	static const char *const bad[] = {"", ".x", "-x", "a/b", "a b", "\xc3\xa4"};
	char path[CONTROL_PATH_MAX], dir[CONTROL_PATH_MAX], long_name[200];
	struct uvfio_error err = {""};
	struct server s;
	int fd;

	setenv("XDG_RUNTIME_DIR", "/run/user/4242", 1);
	assert_int_equal(control_path("disk-1.x_y", path, &err), 0);
	assert_string_equal(path, geteuid() ? "/run/user/4242/uvfio/disk-1.x_y.sock"
					    : "/run/uvfio/disk-1.x_y.sock");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(control_path(bad[i], path, &err), -EINVAL);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(control_path(long_name, path, &err), -EINVAL);
	assert_int_equal(control_listen(long_name, 0600, &err), -ENAMETOOLONG);

	server_up(&s, NULL);
	assert_int_equal(control_listen(s.path, 0600, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, s.path));
	snprintf(path, sizeof(path), "%s/stale", s.dir);
	fd = control_listen(path, 0640, &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(control_connect(path), -ECONNREFUSED);
	fd = control_listen(path, 0640, &err); /* replaces it */
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	assert_int_equal(control_connect(path), -ENOENT);
	snprintf(dir, sizeof(dir), "%s/file", s.dir);
	fd = open(dir, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(control_listen(dir, 0600, &err), -EEXIST);
	unlink(dir);
	server_down(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edge_cases),           cmocka_unit_test(test_framing),
		cmocka_unit_test(test_batch_waits_for_jobs), cmocka_unit_test(test_list_and_show),
		cmocka_unit_test(test_lspci_stats_faults),   cmocka_unit_test(test_reset),
		cmocka_unit_test(test_add_and_remove),       cmocka_unit_test(test_trace),
		cmocka_unit_test(test_trace_drops),          cmocka_unit_test(test_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
