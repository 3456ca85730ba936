// SPDX-License-Identifier: BSD-3-Clause
/* Attacks on the frame: headers, sizes, pieces, connections that end anywhere or never speak. */
#include "wire_attack.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Any command in its shortest good form. */
static const uint8_t zeros[64];

static void silence(const struct victim *v)
{
	struct wire w;

	NEED(!wire_connect(&w, v->path));
	attack_others_live(v);
	wire_close(&w);
}

static void half_header(const struct victim *v)
{
	const struct wire_header head = {.id = 1, .command = WIRE_VERSION, .size = 20};

	for (size_t n = 1; n < sizeof(head); n++) {
		struct wire w;

		NEED(!wire_connect(&w, v->path));
		CHECK(!wire_send_bytes(w.fd, &head, n, NULL, 0));
		if (n == 7)
			attack_others_live(v);
		wire_close(&w);
	}
}

static void header_without_body(const struct victim *v)
{
	struct wire_device_info info = {.argsz = sizeof(info)};
	const struct wire_header head = {.id = 77, .command = WIRE_GET_INFO, .size = 32};
	struct wire w;

	NEED(!attack_open(&w, v->path));
	CHECK(!wire_send_bytes(w.fd, &head, sizeof(head), NULL, 0));
	attack_others_live(v);
	/* It was only slow: what comes late completes it. */
	CHECK(!wire_send_bytes(w.fd, &info, sizeof(info), NULL, 0));
	w.id = 77;
	CHECK(attack_verdict(&w) == 0);
	CHECK(attack_answers(&w));
	wire_close(&w);
}

static void bytes_one_by_one(const struct victim *v)
{
	struct {
		struct wire_header head;
		struct wire_access access;
		uint8_t data[64];
	} __attribute__((packed)) message = {
		.head = {.id = 5, .command = WIRE_REGION_WRITE, .size = sizeof(message)},
		.access = {.offset = 0x3c, .region = CONFIG, .count = 64},
	};
	const uint8_t *bytes = (const uint8_t *)&message;
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (size_t i = 0; i < sizeof(message); i++)
		NEED(!wire_send_bytes(w.fd, bytes + i, 1, NULL, 0));
	w.id = 5;
	CHECK(attack_verdict(&w) == 0);
	wire_close(&w);
}

static void several_in_one_send(const struct victim *v)
{
	struct {
		struct wire_header head;
		struct wire_device_info info;
	} many[100];
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (unsigned i = 0; i < 100; i++) {
		many[i].head = (struct wire_header){
			.id = (uint16_t)(1000 + i), .command = WIRE_GET_INFO, .size = 32};
		many[i].info = (struct wire_device_info){.argsz = 16};
	}
	CHECK(!wire_send_bytes(w.fd, many, sizeof(many) - 7, NULL, 0));
	CHECK(!wire_send_bytes(w.fd, (char *)many + sizeof(many) - 7, 7, NULL, 0));
	for (unsigned i = 0; i < 100; i++) {
		struct wire_message answer;

		/* In the order of the requests. */
		NEED(!wire_receive(w.fd, &answer, WIRE_PATIENCE));
		CHECK(answer.head.id == 1000 + i && answer.head.flags == WIRE_REPLY);
		wire_drop(&answer);
	}
	wire_close(&w);
}

static void size_below_header(const struct victim *v)
{
	for (uint32_t size = 0; size < 16; size++) {
		const struct wire_header head = {.id = 1, .command = WIRE_GET_INFO, .size = size};
		struct wire w;

		NEED(!attack_open(&w, v->path));
		CHECK(attack_send_raw(&w, &head, zeros, 16) != 0);
		wire_close(&w);
	}
}

static void size_huge(const struct victim *v)
{
	static const uint32_t sizes[] = {0xffffffff, 0x80000000, 0x7fffffff,
					 64u << 20,  16u << 20,  (4u << 20) + 1};
	long before = attack_memory(v);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct wire_header head = {.id = 1, .command = WIRE_GET_INFO, .size = sizes[i]};
		struct wire w;

		NEED(!attack_open(&w, v->path));
		CHECK(attack_send_raw(&w, &head, zeros, sizeof(zeros)) != 0);
		wire_close(&w);
		NEED(!attack_open(&w, v->path));
		head.command = WIRE_REGION_WRITE;
		CHECK(attack_send_raw(&w, &head, zeros, sizeof(zeros)) != 0);
		wire_close(&w);
		NEED(!wire_connect(&w, v->path));
		head.command = WIRE_VERSION;
		CHECK(attack_send_raw(&w, &head, zeros, sizeof(zeros)) != 0);
		wire_close(&w);
	}
	CHECK(attack_memory(v) - before < 64 * 1024);
}

/* More or fewer bytes than the command has. */
static void size_of_another_command(const struct victim *v)
{
	static const struct {
		unsigned command;
		uint32_t size;
	} commands[] = {
		{WIRE_DMA_MAP, 32},
		{WIRE_DMA_UNMAP, 24},
		{WIRE_GET_INFO, 16},
		{WIRE_GET_REGION_INFO, 32},
		{WIRE_GET_REGION_IO_FDS, 16},
		{WIRE_GET_IRQ_INFO, 16},
		{WIRE_SET_IRQS, 20},
		{WIRE_REGION_READ, 16},
		{WIRE_REGION_WRITE, 16},
		{WIRE_WRITE_MULTI, 8},
		{WIRE_FEATURE, 8},
		{WIRE_MIG_READ, 8},
		{WIRE_MIG_WRITE, 8},
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		for (uint32_t n = 0; n < commands[i].size; n++) {
			struct wire w;

			NEED(!attack_open(&w, v->path));
			if (CHECK(attack_send(&w, commands[i].command, zeros, n, NULL, 0) != 0) ==
			    0)
				printf("# command %u with %u bytes\n", commands[i].command, n);
			wire_close(&w);
		}
	}
}

static void wrong_types(const struct victim *v)
{
	for (uint32_t type = 2; type <= 15; type++) {
		const struct wire_header head = {
			.id = 1, .command = WIRE_GET_INFO, .size = 32, .flags = type};
		struct wire w;

		NEED(!attack_open(&w, v->path));
		CHECK(attack_send_raw(&w, &head, zeros, 16) != 0);
		wire_close(&w);
	}
}

static void unknown_flags(const struct victim *v)
{
	for (unsigned bit = 6; bit < 32; bit++) {
		const struct wire_header head = {
			.id = 1, .command = WIRE_GET_INFO, .size = 32, .flags = 1u << bit};
		struct wire w;

		NEED(!attack_open(&w, v->path));
		/* Reserved: refused or ignored, answered in any case. */
		attack_send_raw(&w, &head, zeros, 16);
		wire_close(&w);
	}
}

/* Replies to nothing; then a question: it is answered, or the connection has ended. */
static void replies_without_request(const struct victim *v)
{
	for (uint16_t command = 0; command < 20; command++) {
		const struct wire_header head = {
			.id = command, .command = command, .size = 48, .flags = WIRE_REPLY};
		struct wire w;
		int verdict;

		NEED(!attack_open(&w, v->path));
		CHECK(!wire_send_raw(&w, &head, zeros, 32, NULL, 0));
		verdict = attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
		CHECK(verdict == 0 || verdict == -1);
		wire_close(&w);
	}
}

static void error_bit_in_commands(const struct victim *v)
{
	for (uint16_t command = 0; command < 20; command++) {
		const struct wire_header head = {.id = command,
						 .command = command,
						 .size = 16 + 32,
						 .flags = WIRE_ERROR,
						 .error = 0xffffffff};
		struct wire w;

		NEED(!attack_open(&w, v->path));
		CHECK(!wire_send_raw(&w, &head, zeros, 32, NULL, 0));
		attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
		wire_close(&w);
	}
}

static void unknown_commands(const struct victim *v)
{
	static const uint16_t commands[] = {0,   WIRE_DMA_READ, WIRE_DMA_WRITE, 14,   19, 20,
					    255, 256,           32767,          65535};
	struct wire w;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		NEED(!attack_open(&w, v->path));
		CHECK(attack_send(&w, commands[i], zeros, 32, NULL, 0) != 0);
		wire_close(&w);
		NEED(!attack_open(&w, v->path));
		CHECK(attack_send(&w, commands[i], NULL, 0, NULL, 0) != 0);
		wire_close(&w);
	}
}

/* Each command without a reply: none comes, whatever became of it. */
static void no_reply_to_everything(const struct victim *v)
{
	for (unsigned command = 0; command < 24; command++) {
		struct wire_message message;
		struct wire w;
		int rc;

		NEED(!attack_open(&w, v->path));
		CHECK(!wire_send(&w, command, WIRE_NO_REPLY, zeros, 32, NULL, 0));
		if (!wire_send(&w, WIRE_GET_INFO, 0, (uint32_t[4]){16}, 16, NULL, 0)) {
			rc = wire_receive(w.fd, &message, WIRE_PATIENCE);
			CHECK(rc == -ECONNRESET || (!rc && message.head.id == w.id));
			if (!rc)
				wire_drop(&message);
		}
		wire_close(&w);
	}
}

/* ---- not reading, dying ---------------------------------------------------------------------- */

static void never_reading(const struct victim *v)
{
	struct {
		struct wire_header head;
		struct wire_access access;
	} ask = {{.id = 1, .command = WIRE_REGION_READ, .size = sizeof(ask)},
		 {.offset = 0, .region = CONFIG, .count = 4096}};
	long before = attack_memory(v);
	unsigned long sent = 0;
	struct wire w;

	NEED(!attack_open(&w, v->path));
	/* Until the server does not take more: it has its limit, or we would fill its memory. */
	while (sent < 1000000) {
		struct pollfd pfd = {.fd = w.fd, .events = POLLOUT};
		ssize_t n = send(w.fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n == (ssize_t)sizeof(ask)) {
			sent++;
			continue;
		}
		if (n >= 0 || errno != EAGAIN)
			break;
		/* Full: only a server that still takes requests makes room again. */
		attack_others_live(v);
		if (poll(&pfd, 1, 0) == 0)
			break;
	}
	CHECK(sent > 0 && sent < 1000000);
	CHECK(attack_memory(v) - before < 64 * 1024);
	attack_others_live(v);
	wire_close(&w);
}

static void flood_of_posted_writes(const struct victim *v)
{
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (uint32_t i = 0; i < 20000; i++) {
		if (wire_post(&w, 0, 0x1000 + (i & 0x3ff) * 4, &i, 4))
			break;
	}
	CHECK(attack_answers(&w));
	wire_close(&w);
}

static void thousand_connections(const struct victim *v)
{
	for (int i = 0; i < 1000; i++) {
		struct wire w;

		NEED(!wire_connect(&w, v->path));
		wire_close(&w);
	}
}

static void many_connections_at_once(const struct victim *v)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fds[200];
	unsigned n;

	NEED(strlen(v->path) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, v->path);
	for (n = 0; n < 200; n++) {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		NEED(fds[n] >= 0);
		/* As many as the server's backlog takes; each says a little. */
		if (!connect(fds[n], (struct sockaddr *)&addr, sizeof(addr)))
			send(fds[n], zeros, n % 16, MSG_NOSIGNAL);
	}
	attack_others_live(v);
	while (n)
		close(fds[--n]);
}

/* A session as one string of bytes, so that it can end anywhere. */
static size_t session(uint8_t *bytes)
{
	static const char json[] = "{\"capabilities\":{\"max_msg_fds\":8}}";
	const struct wire_map map = {sizeof(map), 3, 0, 0x100000, 4 * PAGE};
	const struct wire_irq_set set = {sizeof(set), 4 | 32, 2, 0, 1};
	const struct wire_access read = {0, 0, 64}, write = {4, CONFIG, 2};
	const uint16_t version[2] = {0, 1}, command = 6;
	const uint32_t info[4] = {16};
	const struct {
		unsigned command;
		const void *data;
		size_t n;
		const void *more;
		size_t nmore;
	} parts[] = {
		{WIRE_VERSION, version, 4, json, sizeof(json)},
		{WIRE_GET_INFO, info, 16, NULL, 0},
		{WIRE_DMA_MAP, &map, sizeof(map), NULL, 0},
		{WIRE_SET_IRQS, &set, sizeof(set), NULL, 0},
		{WIRE_REGION_WRITE, &write, sizeof(write), &command, 2},
		{WIRE_REGION_READ, &read, sizeof(read), NULL, 0},
		{WIRE_RESET, NULL, 0, NULL, 0},
	};
	size_t len = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		const struct wire_header head = {
			.id = (uint16_t)(i + 1),
			.command = (uint16_t)parts[i].command,
			.size = (uint32_t)(16 + parts[i].n + parts[i].nmore),
		};

		memcpy(bytes + len, &head, sizeof(head));
		len += sizeof(head);
		if (parts[i].n)
			memcpy(bytes + len, parts[i].data, parts[i].n);
		len += parts[i].n;
		if (parts[i].nmore)
			memcpy(bytes + len, parts[i].more, parts[i].nmore);
		len += parts[i].nmore;
	}
	return len;
}

static void dying_at_every_byte(const struct victim *v)
{
	uint8_t bytes[1024];
	size_t len = session(bytes);
	int fds[2] = {attack_memfd(16 * PAGE), eventfd(0, EFD_CLOEXEC)};

	NEED(fds[0] >= 0 && fds[1] >= 0);
	for (size_t n = 0; n <= len; n++) {
		struct wire w;

		NEED(!wire_connect(&w, v->path));
		/* The fds lie beside the first byte, where nothing has a use for them. */
		CHECK(!n || !wire_send_bytes(w.fd, bytes, n, n & 1 ? fds : NULL, n & 1 ? 2 : 0));
		wire_close(&w);
	}
	close(fds[0]);
	close(fds[1]);
}

static void half_closed(const struct victim *v)
{
	struct wire w;

	NEED(!attack_open(&w, v->path));
	CHECK(!shutdown(w.fd, SHUT_WR));
	CHECK(!wire_until_end(&w));
	wire_close(&w);
	NEED(!attack_open(&w, v->path));
	CHECK(!shutdown(w.fd, SHUT_RD));
	wire_send(&w, WIRE_GET_INFO, 0, zeros, 16, NULL, 0);
	wire_send(&w, WIRE_GET_INFO, 0, zeros, 16, NULL, 0);
	attack_others_live(v);
	wire_close(&w);
}

static void two_clients_of_one_device(const struct victim *v)
{
	struct wire first, second;
	uint16_t command = 6, now = 0;

	NEED(!attack_open(&first, v->path));
	CHECK(wire_write(&first, CONFIG, 4, &command, 2) == 2);
	/* The second waits, or is refused; the first does not notice. */
	if (!wire_connect(&second, v->path)) {
		wire_send(&second, WIRE_VERSION, 0, zeros, 4, NULL, 0);
		for (int i = 0; i < 100; i++)
			NEED(attack_answers(&first));
		wire_send(&second, WIRE_RESET, 0, NULL, 0, NULL, 0);
		CHECK(attack_answers(&first));
		CHECK(wire_read(&first, CONFIG, 4, &now, 2) == 2 && now == command);
		wire_close(&second);
	}
	CHECK(attack_answers(&first));
	wire_close(&first);
}

const struct attack attacks_frame[] = {
	{"silence", silence},
	{"half a header", half_header},
	{"a header without its body", header_without_body},
	{"a message byte by byte", bytes_one_by_one},
	{"a hundred messages in one send", several_in_one_send},
	{"a size below the header's", size_below_header},
	{"huge sizes", size_huge},
	{"every command with too few bytes", size_of_another_command},
	{"types that are none", wrong_types},
	{"unknown flags", unknown_flags},
	{"replies without a request", replies_without_request},
	{"the error bit in commands", error_bit_in_commands},
	{"unknown commands", unknown_commands},
	{"no reply wanted to anything", no_reply_to_everything},
	{"never reading a reply", never_reading},
	{"a flood of posted writes", flood_of_posted_writes},
	{"a thousand connections", thousand_connections},
	{"many connections at once", many_connections_at_once},
	{"dying at every byte", dying_at_every_byte},
	{"half closed", half_closed},
	{"two clients of one device", two_clients_of_one_device},
	{0},
};
