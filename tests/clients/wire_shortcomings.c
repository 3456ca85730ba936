// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ten things at which a vfio-user server can fall short, and the best known one did: a test for
 * each, with the reason why a plain implementation fails it.  The frame is wire_attack.h.
 */
#include "wire_attack.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define IOVA                0x10000000ul
#define FEATURE(op, number) ((op) << 16 | (number))
enum { GET = 1, SET = 2, PROBE = 4 };

/*
 * 1. A stream socket hands over what is there: a server that reads the header, and then the body
 * with one more receive, gets a part of a long body and takes the rest for a header.
 */
static void body_in_pieces(const struct victim *v)
{
	static const size_t lengths[] = {4096, 64 << 10, 256 << 10, 1 << 20};
	static const size_t pieces[] = {1000, 4096, 65536, 100000};
	const int small = 4096;

	for (size_t l = 0; l < 4; l++) {
		for (size_t p = 0; p < 4; p++) {
			const size_t n = 32 + lengths[l];
			struct wire_header head = {
				.id = 9, .command = WIRE_REGION_WRITE, .size = (uint32_t)n};
			/* Behind BAR 0's end nothing is written; what lies before it may be. */
			const struct wire_access access = {
				.offset = 0x2000, .region = 0, .count = (uint32_t)lengths[l]};
			uint8_t *bytes = calloc(1, n);
			struct wire w;

			NEED(bytes && !attack_open(&w, v->path));
			CHECK(lengths[l] <= w.max_xfer);
			setsockopt(w.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
			memcpy(bytes, &head, 16);
			memcpy(bytes + 16, &access, 16);
			for (size_t at = 0; at < n; at += pieces[p])
				NEED(!wire_send_bytes(w.fd, bytes + at,
						      n - at < pieces[p] ? n - at : pieces[p], NULL,
						      0));
			w.id = 9;
			CHECK(attack_verdict(&w) == 0);
			CHECK(attack_answers(&w));
			free(bytes);
			wire_close(&w);
		}
	}
	/* The same the other way: a long answer to a client that takes it slowly. */
	for (size_t l = 0; l < 4; l++) {
		const struct wire_access ask = {.offset = 0, .region = CONFIG, .count = 4096};
		struct wire_message answer;
		struct wire w;

		NEED(!attack_open(&w, v->path));
		setsockopt(w.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		for (int i = 0; i < 64; i++)
			NEED(!wire_send(&w, WIRE_REGION_READ, 0, &ask, sizeof(ask), NULL, 0));
		for (int i = 0; i < 64; i++) {
			NEED(!wire_receive(w.fd, &answer, WIRE_PATIENCE));
			CHECK(answer.len == 16 + 4096);
			wire_drop(&answer);
		}
		wire_close(&w);
	}
}

static long feature(struct wire *w, uint32_t flags, const void *data, size_t n)
{
	uint8_t payload[128] = {0};
	const uint32_t head[2] = {4096, flags};

	memcpy(payload, head, sizeof(head));
	if (n)
		memcpy(payload + sizeof(head), data, n);
	return wire_call(w, WIRE_FEATURE, payload, sizeof(head) + n, NULL, 0, NULL);
}

/*
 * 2. A report that is computed at the log's page size only loops or loses pages at any other, and
 * one that looks up a single mapping finds nothing over two (E.4; what is reported when a device
 * has written is tested in tests/unit/dirty_test.c, with every page size).
 */
static void dirty_report_at_any_page_size(const struct victim *v)
{
	static const uint64_t sizes[] = {0, 1, 512, 2048, 4096, 8192, 12288, 65536, 2 << 20, ~0ull};
	int fd = attack_memfd(64 * PAGE);
	const uint64_t start[4] = {4096, 1, IOVA, 64 * PAGE};
	struct wire w;

	NEED(fd >= 0 && !attack_open(&w, v->path));
	CHECK(!wire_map(&w, IOVA, 32 * PAGE, fd, 0));
	CHECK(!wire_map(&w, IOVA + 32 * PAGE, 32 * PAGE, fd, 32 * PAGE));
	CHECK(feature(&w, FEATURE(PROBE | SET, 6), NULL, 0) >= 0);
	CHECK(feature(&w, FEATURE(SET, 6), start, sizeof(start)) >= 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const uint64_t whole[3] = {IOVA, 64 * PAGE, sizes[i]};
		const uint64_t part[3] = {IOVA + 31 * PAGE, 2 * PAGE, sizes[i]};
		bool good = sizes[i] >= 4096 && !(sizes[i] & (sizes[i] - 1));
		long rc = feature(&w, FEATURE(GET, 8), whole, sizeof(whole));

		CHECK(good ? rc >= 0 : rc == -EINVAL);
		rc = feature(&w, FEATURE(GET, 8), part, sizeof(part));
		CHECK(good ? rc >= 0 : rc == -EINVAL);
	}
	CHECK(attack_answers(&w));
	wire_close(&w);
	close(fd);
}

/*
 * 3. A server that asserts what a client should do is ended by one that does not; one that takes
 * `argsz` for the length of what came reads behind it; one that stores every write as a dword
 * reads too much and zeroes the neighbour.
 */
static void nothing_aborts_the_server(const struct victim *v)
{
	const uint64_t start[2] = {4096, 0};
	uint16_t half = 0x001f, line;
	uint32_t queues = 0x000f000f, now = 0;
	uint8_t byte = 0x1f;
	struct wire w;

	NEED(!attack_open(&w, v->path));
	/* Without any memory there: of all that there will be. */
	CHECK(feature(&w, FEATURE(SET, 6), start, sizeof(start)) >= 0);
	for (size_t n = 0; n < 24; n++) {
		CHECK(feature(&w, FEATURE(GET, 8), start, n < 16 ? n : 16) < 0);
		CHECK(feature(&w, FEATURE(SET, 6), start, n < 16 ? n : 16) < 0);
	}
	CHECK(feature(&w, FEATURE(SET, 7), NULL, 0) >= 0);
	CHECK(attack_answers(&w));
	/* Writes smaller than a dword, and nothing beside them changes. */
	CHECK(wire_write(&w, 0, 0x24, &queues, 4) == 4);
	CHECK(wire_write(&w, 0, 0x24, &half, 2) == 2);
	CHECK(wire_read(&w, 0, 0x24, &now, 4) == 4 && now >> 16 == 0x000f);
	CHECK(wire_write(&w, 0, 0x27, &byte, 1) == 1);
	CHECK(wire_read(&w, 0, 0x24, &now, 4) == 4 && now & 0xffff);
	line = 0x5a;
	CHECK(wire_write(&w, CONFIG, 0x3c, &line, 1) == 1);
	CHECK(wire_read(&w, CONFIG, 0x3c, &line, 2) == 2 && (line & 0xff) == 0x5a);
	/* A write whose data is shorter than it says. */
	for (uint32_t n = 0; n < 4; n++) {
		const struct {
			struct wire_access access;
			uint32_t data;
		} write = {{.offset = 0x24, .region = 0, .count = 4}, 0};
		struct wire other;

		wire_close(&w);
		NEED(!attack_open(&other, v->path));
		CHECK(attack_send(&other, WIRE_REGION_WRITE, &write, 16 + n, NULL, 0) != 0);
		w = other;
	}
	wire_close(&w);
}

/*
 * 4. One loop that waits for the body of one client's message, or for its VERSION, serves nobody
 * else meanwhile; and a transfer cut into pieces of max_data_xfer_size has no end when that is 0.
 */
static void nobody_waits_for_another(const struct victim *v)
{
	const struct wire_header head = {.id = 1, .command = WIRE_VERSION, .size = 4096};
	struct wire silent, half;

	NEED(!wire_connect(&silent, v->path));
	attack_others_live(v);
	wire_close(&silent);
	NEED(!wire_connect(&half, v->path));
	CHECK(!wire_send_bytes(half.fd, &head, sizeof(head), NULL, 0));
	attack_others_live(v);
	wire_close(&half);
	/* The same after VERSION, and while the other device is busy with its own. */
	NEED(!attack_open(&half, v->path));
	CHECK(!wire_send_bytes(half.fd, &head, 9, NULL, 0));
	attack_others_live(v);
	wire_close(&half);
	/* A transfer size of 0 (wire_hostile has the DMA with it). */
	if (!attack_version(&half, v->path, 1, "{\"capabilities\":{\"max_data_xfer_size\":0}}")) {
		CHECK(!wire_map(&half, 0x100000, 16 * PAGE, -1, 0));
		CHECK(!wire_nvme_enable(&half, 0x100000));
		CHECK(!wire_nvme_ring(&half, 1));
		for (int i = 0; i < 100; i++)
			NEED(attack_answers(&half));
	}
	wire_close(&half);
}

/* 5. What is not checked is mapped: the specification wants EEXIST for an overlap. */
static void mappings_are_checked(const struct victim *v)
{
	int fd = attack_memfd(16 * PAGE);
	struct wire w;

	NEED(fd >= 0 && !attack_open(&w, v->path));
	for (int file = -1; file <= fd; file += fd + 1) {
		CHECK(wire_map(&w, IOVA, 0, file, 0) == -EINVAL);
		CHECK(wire_map(&w, IOVA + 1, PAGE, file, 0) == -EINVAL);
		CHECK(wire_map(&w, IOVA, PAGE - 1, file, 0) == -EINVAL);
		CHECK(wire_map(&w, IOVA, PAGE + 512, file, 0) == -EINVAL);
		CHECK(wire_map(&w, -PAGE, 2 * PAGE, file, 0) == -EOVERFLOW);
		CHECK(wire_map(&w, IOVA, 4 * PAGE, file, 0) == 0);
		CHECK(wire_map(&w, IOVA, 4 * PAGE, file, 0) == -EEXIST);
		CHECK(wire_map(&w, IOVA - PAGE, 2 * PAGE, file, 0) == -EEXIST);
		CHECK(wire_map(&w, IOVA + 3 * PAGE, 2 * PAGE, file, 0) == -EEXIST);
		CHECK(wire_map(&w, IOVA + 4 * PAGE, PAGE, file, 0) == 0);
		CHECK(wire_unmap(&w, IOVA, 5 * PAGE, 0, NULL) == 0);
	}
	wire_close(&w);
	close(fd);
}

static bool fired(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

/*
 * 6. One array of eventfds for all modes: what disables one disables another, and a range without
 * descriptors is ignored.  Here each index has its own, and a vector knows whether it is set.
 */
static void interrupts_have_their_own(const struct victim *v)
{
	struct wire_irq_info info = {.argsz = sizeof(info), .index = 2};
	uint8_t pending[8];
	int fd[5], extra[2];
	struct wire w;

	for (unsigned i = 0; i < 5; i++)
		fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	extra[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	extra[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	NEED(!attack_open(&w, v->path));
	NEED(!wire_ask(&w, WIRE_GET_IRQ_INFO, &info, sizeof(info), &info, sizeof(info)));
	NEED(info.count >= 5);
	CHECK(!wire_set_irqs(&w, 2, 4 | 32, 0, 5, fd, 5));
	CHECK(!wire_set_irqs(&w, 3, 4 | 32, 0, 1, &extra[0], 1));
	CHECK(!wire_set_irqs(&w, 4, 4 | 32, 0, 1, &extra[1], 1));
	/* INTx while MSI-X is on is refused and leaves MSI-X alone. */
	CHECK(wire_set_irqs(&w, 0, 4 | 32, 0, 1, &fd[0], 1) == -EINVAL);
	CHECK(wire_set_irqs(&w, 1, 1 | 32, 0, 0, NULL, 0) == -EINVAL);
	/* De-assign the second to the fourth. */
	CHECK(!wire_set_irqs(&w, 2, 4 | 32, 1, 3, NULL, 0));
	CHECK(!wire_set_irqs(&w, 2, 1 | 32, 0, 5, NULL, 0));
	CHECK(fired(fd[0]) && !fired(fd[1]) && !fired(fd[2]) && !fired(fd[3]) && fired(fd[4]));
	/* MSI-X off: the error and request interrupts are still there. */
	CHECK(!wire_set_irqs(&w, 2, 1 | 32, 0, 0, NULL, 0));
	CHECK(!wire_set_irqs(&w, 3, 1 | 32, 0, 1, NULL, 0) && fired(extra[0]));
	CHECK(!wire_set_irqs(&w, 4, 1 | 32, 0, 1, NULL, 0) && fired(extra[1]));
	CHECK(!fired(fd[0]) && !fired(fd[4]));
	/* And now INTx. */
	CHECK(!wire_set_irqs(&w, 0, 4 | 32, 0, 1, &fd[0], 1));
	CHECK(!wire_set_irqs(&w, 0, 1 | 32, 0, 1, NULL, 0) && fired(fd[0]));
	/* The pending bits are the server's to tell. */
	{
		uint8_t config[256];
		uint32_t pba = 0;

		NEED(wire_read(&w, CONFIG, 0, config, sizeof(config)) == sizeof(config));
		for (unsigned at = config[0x34]; at; at = config[at + 1]) {
			if (config[at] == 0x11)
				memcpy(&pba, config + at + 8, 4);
		}
		NEED(pba);
		CHECK(wire_read(&w, pba & 7, pba & ~7u, pending, 8) == 8);
		CHECK(pending[0] != 0xff);
		CHECK(wire_write(&w, pba & 7, pba & ~7u, pending, 8) == 8);
	}
	wire_close(&w);
	for (unsigned i = 0; i < 5; i++)
		close(fd[i]);
	close(extra[0]);
	close(extra[1]);
}

/*
 * 7. Config space as a table of known capabilities ends with the first unknown one.  Here it is the
 * function's: both lists can be walked, error reporting is there, STATUS is not plain memory.
 */
static void config_space_is_a_functions(const struct victim *v)
{
	struct wire_region_info rom = {.argsz = sizeof(rom), .index = 6};
	uint8_t config[4096];
	unsigned standard = 0, extended = 0, steps = 0;
	uint16_t status, all = 0xffff;
	bool aer = false;
	struct wire w;

	NEED(!attack_open(&w, v->path));
	NEED(wire_read(&w, CONFIG, 0, config, sizeof(config)) == sizeof(config));
	CHECK(config[6] & 0x10);
	for (unsigned at = config[0x34]; at >= 0x40 && steps < 48; at = config[at + 1], steps++)
		standard++;
	CHECK(standard >= 3 && steps < 48);
	for (unsigned at = 0x100; at >= 0x100 && extended < 480; extended++) {
		uint32_t head;

		memcpy(&head, config + at, 4);
		aer |= (head & 0xffff) == 1;
		at = head >> 20;
	}
	CHECK(aer && extended < 480);
	/* A.7: nothing of STATUS can be written, and writing ones clears nothing by mistake. */
	memcpy(&status, config + 6, 2);
	CHECK(wire_write(&w, CONFIG, 6, &all, 2) == 2);
	CHECK(wire_read(&w, CONFIG, 6, &all, 2) == 2 && all == status);
	CHECK(!wire_ask(&w, WIRE_GET_REGION_INFO, &rom, sizeof(rom), &rom, sizeof(rom)));
	/* Every byte can be written with anything. */
	for (unsigned fill = 0; fill < 256; fill += 85) {
		memset(config, (int)fill, sizeof(config));
		for (unsigned at = 0; at < 4096; at += 256)
			CHECK(wire_write(&w, CONFIG, at, config, 256) == 256);
	}
	CHECK(attack_answers(&w));
	wire_close(&w);
}

/*
 * 8. A reset that does not touch the migration state leaves a device in ERROR for ever.  Without
 * migration (A.10: ENOTTY) the refusals are what can be tested.
 */
static void reset_leaves_error(const struct victim *v)
{
	uint32_t state[2] = {0xffffffff, 0}, wrong[2] = {99, 0};
	struct wire w;
	bool migration;

	NEED(!attack_open(&w, v->path));
	migration = feature(&w, FEATURE(PROBE | GET, 1), NULL, 0) >= 0;
	for (uint32_t to = 0; to < 8; to++) {
		state[0] = to;
		if (!migration)
			CHECK(feature(&w, FEATURE(SET, 2), state, sizeof(state)) == -ENOTTY);
		else
			feature(&w, FEATURE(SET, 2), state, sizeof(state));
		CHECK(!wire_reset(&w));
	}
	CHECK(feature(&w, FEATURE(SET, 2), wrong, sizeof(wrong)) ==
	      (migration ? -EINVAL : -ENOTTY));
	CHECK(!wire_reset(&w));
	if (migration) {
		uint8_t payload[16] = {16, 0, 0, 0, 2, 0, 1, 0};
		struct wire_message answer;

		NEED(wire_call(&w, WIRE_FEATURE, payload, 16, NULL, 0, &answer) >= 12);
		CHECK(answer.data[8] == 2 /* RUNNING */);
		wire_drop(&answer);
	} else {
		printf("# migration is not offered: the refusals only\n");
	}
	wire_close(&w);
}

static void leave_unanswered(struct wire *w, const struct wire_message *m, void *arg)
{
	++*(unsigned *)arg;
}

/*
 * 9. One path, one client, one function a context; and a reset that cannot be done at once leaves
 * its client without a reply.  Here one server has two devices with a client each at the same time,
 * and a reset with a transfer that nobody answers is answered.
 */
static void many_devices_in_one_server(const struct victim *v)
{
	unsigned commands = 0;
	uint32_t vs = 0;
	struct wire a, b;

	NEED(!attack_open(&a, v->path));
	NEED(!attack_open(&b, v->other_path));
	for (int i = 0; i < 100; i++) {
		NEED(wire_read(&a, 0, 8, &vs, 4) == 4 && vs);
		NEED(wire_read(&b, 0, 8, &vs, 4) == 4 && vs);
	}
	a.serve = leave_unanswered;
	a.serve_arg = &commands;
	NEED(!wire_map(&a, 0x100000, 16 * PAGE, -1, 0));
	NEED(!wire_nvme_enable(&a, 0x100000));
	NEED(!wire_nvme_ring(&a, 1));
	while (!commands)
		NEED(!wire_serve_one(&a));
	CHECK(!wire_reset(&a));
	CHECK(wire_read(&b, 0, 8, &vs, 4) == 4 && vs);
	wire_close(&a);
	CHECK(attack_answers(&b));
	wire_close(&b);
}

static long areas_of(pid_t pid)
{
	char path[64];
	long lines = 0;
	FILE *file;
	int c;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

/*
 * 10. An mmap for each region runs out at vm.max_map_count (65,530), whatever the limit was said to
 * be.  Here a file is mapped once, and the regions of it are counted against the limit alone.
 */
static void regions_cost_no_areas(const struct victim *v)
{
	long before = areas_of(v->pid), after;
	int fd = attack_memfd(2 * 65536 * PAGE);
	uint64_t done = 0, gone = 0;
	struct wire w;
	long rc = 0;

	NEED(fd >= 0 && !attack_open(&w, v->path));
	while (done < 70000 && !rc) {
		rc = wire_map(&w, IOVA + done * 2 * PAGE, PAGE, fd, done * 2 * PAGE);
		done += !rc;
	}
	if (!CHECK(done == 65535 && rc == -ENOSPC))
		printf("# %llu regions, then %s\n", (unsigned long long)done, strerror((int)-rc));
	after = areas_of(v->pid);
	if (!CHECK(after - before < 100))
		printf("# %ld areas more\n", after - before);
	CHECK(!wire_unmap(&w, 0, 0, 2, &gone) && gone == done * PAGE);
	CHECK(attack_answers(&w));
	wire_close(&w);
	close(fd);
}

static const struct attack attacks[] = {
	{"shortcoming_1_body_in_pieces", body_in_pieces},
	{"shortcoming_2_dirty_report_at_any_page_size", dirty_report_at_any_page_size},
	{"shortcoming_3_nothing_aborts_the_server", nothing_aborts_the_server},
	{"shortcoming_4_nobody_waits_for_another", nobody_waits_for_another},
	{"shortcoming_5_mappings_are_checked", mappings_are_checked},
	{"shortcoming_6_interrupts_have_their_own", interrupts_have_their_own},
	{"shortcoming_7_config_space_is_a_functions", config_space_is_a_functions},
	{"shortcoming_8_reset_leaves_error", reset_leaves_error},
	{"shortcoming_9_many_devices_in_one_server", many_devices_in_one_server},
	{"shortcoming_10_regions_cost_no_areas", regions_cost_no_areas},
	{0},
};

int main(int argc, char **argv)
{
	static const struct attack *const tables[] = {attacks, NULL};

	return attack_main(argc, argv, tables);
}
