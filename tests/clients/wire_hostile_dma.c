// SPDX-License-Identifier: BSD-3-Clause
/*
 * Attacks on memory that only messages reach: the device is made to ask for it (an NVMe controller
 * with its admin queues there), and gets no answer, or a wrong one, or one too late.
 */
#include "wire_attack.h"

#include <sys/socket.h>

#define IOVA 0x100000ul
#define SIZE (16 * PAGE)
#define DATA (IOVA + 4 * PAGE) /* where Identify is told to put its answer */

/* The client's side of that memory. */
struct peer {
	uint8_t memory[SIZE];
	unsigned reads, writes; /* commands that came */
	uint64_t largest;
	bool silent;
	struct wire_message kept; /* the first command that silence met; no data, no fds */
	uint8_t kept_data[16];
};

static void serve(struct wire *w, const struct wire_message *m, void *arg)
{
	struct peer *peer = arg;
	struct wire_dma dma;

	if (m->len < sizeof(dma))
		return;
	memcpy(&dma, m->data, sizeof(dma));
	if (m->head.command == WIRE_DMA_READ)
		peer->reads++;
	else
		peer->writes++;
	if (dma.count > peer->largest)
		peer->largest = dma.count;
	if (peer->silent) {
		if (peer->reads + peer->writes == 1 || !peer->kept.data) {
			peer->kept = *m;
			memcpy(peer->kept_data, m->data, sizeof(peer->kept_data));
			peer->kept.data = peer->kept_data;
		}
		return;
	}
	if (dma.address < IOVA || dma.count > SIZE || dma.address - IOVA > SIZE - dma.count) {
		wire_dma_answer(w, m, EFAULT, NULL);
		return;
	}
	if (m->head.command == WIRE_DMA_WRITE)
		memcpy(peer->memory + (dma.address - IOVA), m->data + sizeof(dma), dma.count);
	wire_dma_answer(w, m, 0, peer->memory + (dma.address - IOVA));
}

/* An Identify Controller command in each slot of the admin queue. */
static void prepare(struct peer *peer)
{
	memset(peer, 0, sizeof(*peer));
	for (uint32_t i = 0; i < 16; i++) {
		const uint32_t command[16] = {6 | i << 16,    0, 0, 0, 0, 0,
					      (uint32_t)DATA, 0, 0, 0, 1 /* CNS */};

		memcpy(peer->memory + i * 64, command, sizeof(command));
	}
}

/* A connection whose device has asked for its first command and waits for the answer. */
static int start(struct wire *w, const struct victim *v, struct peer *peer, bool twin)
{
	int rc = twin ? attack_open_twin(w, v->path) : attack_open(w, v->path);

	if (rc)
		return rc;
	prepare(peer);
	w->serve = serve;
	w->serve_arg = peer;
	peer->silent = true;
	rc = (int)wire_map(w, IOVA, SIZE, -1, 0);
	if (!rc)
		rc = wire_nvme_enable(w, IOVA);
	if (!rc)
		rc = wire_nvme_ring(w, 1);
	while (!rc && !peer->reads)
		rc = wire_serve_one(w);
	if (rc) {
		errno = -rc;
		wire_close(w);
	}
	return rc;
}

static void works_at_all(const struct victim *v)
{
	static struct peer peer;
	struct wire w;

	NEED(!start(&w, v, &peer, false));
	peer.silent = false;
	serve(&w, &peer.kept, &peer);
	/* The completion's phase bit says that all is there. */
	while (!(peer.memory[PAGE + 14] & 1))
		NEED(!wire_serve_one(&w));
	CHECK(!(peer.memory[PAGE + 14] >> 1) && !peer.memory[PAGE + 15]);
	CHECK(peer.memory[DATA - IOVA + 0] || peer.memory[DATA - IOVA + 1]);
	CHECK(peer.writes >= 2);
	CHECK(attack_answers(&w));
	wire_close(&w);
}

static void dying_in_flight(const struct victim *v)
{
	static struct peer peer;

	for (int i = 0; i < 20; i++) {
		struct wire w;

		NEED(!start(&w, v, &peer, false));
		if (i & 1) {
			/* Die with a DMA_WRITE in flight instead. */
			peer.silent = false;
			serve(&w, &peer.kept, &peer);
			peer.silent = true;
			NEED(!wire_serve_one(&w));
		}
		wire_close(&w);
	}
}

static void never_answering(const struct victim *v)
{
	static struct peer peer;
	struct wire w;

	NEED(!start(&w, v, &peer, false));
	attack_others_live(v);
	/* Nor does it harm himself. */
	for (int i = 0; i < 100; i++)
		NEED(attack_answers(&w));
	CHECK(!wire_reset(&w));
	CHECK(attack_answers(&w));
	wire_close(&w);
}

static void never_answering_and_disabling(const struct victim *v)
{
	static struct peer peer;
	uint16_t command = 0;
	uint32_t off = 0;
	struct wire w;

	/* Bus mastering off: whatever is in flight is over. */
	NEED(!start(&w, v, &peer, false));
	CHECK(wire_write(&w, CONFIG, 4, &command, 2) == 2);
	CHECK(attack_answers(&w));
	wire_close(&w);
	/* The controller disabled. */
	NEED(!start(&w, v, &peer, false));
	CHECK(wire_write(&w, 0, 0x14, &off, 4) == 4);
	CHECK(attack_answers(&w));
	wire_close(&w);
	/* Power off, and a function level reset. */
	NEED(!start(&w, v, &peer, false));
	CHECK(!wire_reset(&w));
	wire_dma_answer(&w, &peer.kept, 0, peer.memory);
	CHECK(attack_answers(&w));
	wire_close(&w);
}

static void unmap_in_flight(const struct victim *v)
{
	static struct peer peer;
	uint64_t gone = 0;
	struct wire w;

	NEED(!start(&w, v, &peer, false));
	CHECK(!wire_unmap(&w, IOVA, SIZE, 0, &gone) && gone == SIZE);
	/* The late answer is for nothing, and does no harm. */
	CHECK(!wire_dma_answer(&w, &peer.kept, 0, peer.memory));
	CHECK(attack_answers(&w));
	CHECK(!wire_reset(&w));
	wire_close(&w);
	/* All of it, and mapped again at once: the late answer is not the new mapping's. */
	NEED(!start(&w, v, &peer, false));
	CHECK(!wire_unmap(&w, 0, 0, 2, &gone) && gone == SIZE);
	CHECK(!wire_map(&w, IOVA, SIZE, -1, 0));
	CHECK(!wire_dma_answer(&w, &peer.kept, 0, peer.memory));
	CHECK(attack_answers(&w));
	wire_close(&w);
}

static void answering_twice(const struct victim *v)
{
	static struct peer peer;
	struct wire w;

	NEED(!start(&w, v, &peer, false));
	peer.silent = false;
	CHECK(!wire_dma_answer(&w, &peer.kept, 0, peer.memory));
	wire_dma_answer(&w, &peer.kept, 0, peer.memory);
	wire_dma_answer(&w, &peer.kept, EIO, NULL);
	/* Nothing of it is anybody's: the connection lives, or is ended. */
	attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
	wire_close(&w);
}

static void answering_with_errors(const struct victim *v)
{
	static const int errors[] = {EFAULT, EIO, 0x7fffffff, -1, 0};
	static struct peer peer;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct wire w;
		struct wire_header head;

		NEED(!start(&w, v, &peer, false));
		head = peer.kept.head;
		head.flags = WIRE_REPLY | WIRE_ERROR;
		head.error = (uint32_t)errors[i];
		head.size = 16;
		CHECK(!wire_send_raw(&w, &head, NULL, 0, NULL, 0));
		CHECK(attack_answers(&w));
		CHECK(!wire_reset(&w));
		wire_close(&w);
	}
}

/* An answer with everything wrong that can be. */
struct bogus {
	int id, command;     /* added to the right ones */
	int64_t count, more; /* added to `count`; to the bytes that come */
	int64_t address;
	uint32_t flags;
};

static void bogus_answers(const struct victim *v)
{
	static const struct bogus all[] = {
		{.id = 1},
		{.id = -1},
		{.id = 0x4000},
		{.command = 1},
		{.command = -2},
		{.command = 100},
		{.count = 1},
		{.count = -1},
		{.count = -64},
		{.count = 1ll << 32},
		{.count = 1ll << 62},
		{.count = -1, .more = -1},
		{.count = 1, .more = 1},
		{.count = 4096, .more = 4096},
		{.more = -1},
		{.more = -64},
		{.more = -80},
		{.more = 1},
		{.more = 100000},
		{.address = 1},
		{.address = 1ll << 40},
		{.flags = 2},
		{.flags = WIRE_NO_REPLY | WIRE_REPLY},
		{.flags = 0x100 | WIRE_REPLY},
		{.flags = WIRE_ERROR},
		{.flags = WIRE_COMMAND},
	};
	static struct peer peer;
	static uint8_t payload[256 * 1024];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const struct bogus *b = &all[i];
		struct wire_header head;
		struct wire_dma dma;
		struct wire w;
		size_t n;

		NEED(!start(&w, v, &peer, false));
		memcpy(&dma, peer.kept.data, sizeof(dma));
		n = (size_t)((int64_t)(sizeof(dma) + dma.count) + b->more);
		dma.count += (uint64_t)b->count;
		dma.address += (uint64_t)b->address;
		memset(payload, 0xee, sizeof(payload));
		memcpy(payload, &dma, sizeof(dma));
		head = peer.kept.head;
		head.id = (uint16_t)(head.id + b->id);
		head.command = (uint16_t)(head.command + b->command);
		head.flags = b->flags || b == &all[25] ? b->flags : WIRE_REPLY;
		head.size = (uint32_t)(16 + n);
		wire_send_raw(&w, &head, payload, n, NULL, 0);
		attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
		attack_others_live(v);
		wire_close(&w);
	}
}

static void answering_byte_by_byte(const struct victim *v)
{
	static struct peer peer;
	struct wire_header head;
	struct wire_dma dma;
	uint8_t bytes[16 + 16 + 64];
	struct wire w;

	NEED(!start(&w, v, &peer, false));
	memcpy(&dma, peer.kept.data, sizeof(dma));
	NEED(dma.count == 64);
	head = peer.kept.head;
	head.flags = WIRE_REPLY;
	head.size = sizeof(bytes);
	memcpy(bytes, &head, 16);
	memcpy(bytes + 16, &dma, 16);
	memcpy(bytes + 32, peer.memory, 64);
	peer.silent = false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		NEED(!wire_send_bytes(w.fd, bytes + i, 1, NULL, 0));
	while (!(peer.memory[PAGE + 14] & 1))
		NEED(!wire_serve_one(&w));
	wire_close(&w);
}

/* Half an answer, and silence: no reset, no other client waits for the rest. */
static void half_an_answer(const struct victim *v)
{
	static struct peer peer;
	struct wire_header head;
	struct wire w;

	NEED(!start(&w, v, &peer, false));
	head = peer.kept.head;
	head.flags = WIRE_REPLY;
	head.size = 16 + 16 + 64;
	CHECK(!wire_send_bytes(w.fd, &head, sizeof(head), NULL, 0));
	CHECK(!wire_send_bytes(w.fd, peer.kept.data, 16, NULL, 0));
	attack_others_live(v);
	wire_close(&w);
}

static void memory_for_reading_only(const struct victim *v)
{
	const struct wire_map map = {sizeof(map), 1, 0, IOVA, SIZE};
	static struct peer peer;
	struct wire w;

	NEED(!attack_open(&w, v->path));
	prepare(&peer);
	w.serve = serve;
	w.serve_arg = &peer;
	NEED(wire_call(&w, WIRE_DMA_MAP, &map, sizeof(map), NULL, 0, NULL) == 0);
	CHECK(!wire_nvme_enable(&w, IOVA));
	CHECK(!wire_nvme_ring(&w, 1));
	while (!peer.reads)
		NEED(!wire_serve_one(&w));
	for (int i = 0; i < 100; i++)
		NEED(attack_answers(&w));
	CHECK(peer.writes == 0);
	wire_close(&w);
}

/* What one message may carry, agreed at the beginning, holds for the server's too. */
static void small_transfers(const struct victim *v)
{
	static const unsigned limits[] = {0, 1, 16, 64, 100, 4096};
	static struct peer peer;

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		char json[100];
		struct wire w;

		snprintf(json, sizeof(json), "{\"capabilities\":{\"max_data_xfer_size\":%u}}",
			 limits[i]);
		if (attack_version(&w, v->path, 1, json)) {
			CHECK(limits[i] < 64); /* refused: nothing useful fits */
			continue;
		}
		prepare(&peer);
		w.serve = serve;
		w.serve_arg = &peer;
		NEED(!wire_map(&w, IOVA, SIZE, -1, 0));
		NEED(!wire_nvme_enable(&w, IOVA));
		NEED(!wire_nvme_ring(&w, 1));
		if (limits[i]) {
			while (!(peer.memory[PAGE + 14] & 1))
				NEED(!wire_serve_one(&w));
			CHECK(peer.largest && peer.largest <= limits[i]);
		} else {
			for (int k = 0; k < 100; k++)
				NEED(attack_answers(&w));
			CHECK(peer.reads <= 1 && peer.largest <= limits[i]);
		}
		wire_close(&w);
	}
}

static void twin_and_dma(const struct victim *v)
{
	static struct peer peer;
	struct wire w;

	NEED(!attack_open_twin(&w, v->path));
	if (w.twin < 0) {
		wire_close(&w);
		attack_skip("the server makes no twin socket");
		return;
	}
	wire_close(&w);
	/* Answered on the wrong channel. */
	NEED(!start(&w, v, &peer, true));
	shutdown(w.twin, SHUT_RDWR);
	close(w.twin);
	w.twin = -1;
	wire_dma_answer(&w, &peer.kept, 0, peer.memory);
	attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
	wire_close(&w);
	/* Never read, never answered; the main channel goes on. */
	NEED(!start(&w, v, &peer, true));
	for (int i = 0; i < 100; i++)
		NEED(attack_answers(&w));
	CHECK(!wire_reset(&w));
	wire_close(&w);
}

static void doorbells_for_nothing(const struct victim *v)
{
	static struct peer peer;
	struct wire w;

	NEED(!start(&w, v, &peer, false));
	/* Tails beyond the queue, queues that are not there, all over again. */
	for (uint32_t i = 0; i < 5000; i++) {
		const uint32_t value = i * 2654435761u;

		NEED(!wire_post(&w, 0, 0x1000 + (i % 512) * 4, &value, 4));
	}
	CHECK(attack_answers(&w));
	CHECK(!wire_reset(&w));
	wire_close(&w);
}

const struct attack attacks_dma[] = {
	{"DMA by messages works at all", works_at_all},
	{"dying with DMA in flight", dying_in_flight},
	{"never answering DMA_READ", never_answering},
	{"disabling what waits for an answer", never_answering_and_disabling},
	{"unmapping with DMA in flight", unmap_in_flight},
	{"answering twice", answering_twice},
	{"answering with errors", answering_with_errors},
	{"bogus answers", bogus_answers},
	{"an answer byte by byte", answering_byte_by_byte},
	{"half an answer", half_an_answer},
	{"writing to memory for reading", memory_for_reading_only},
	{"small transfers", small_transfers},
	{"twin socket and DMA", twin_and_dma},
	{"doorbells for nothing", doorbells_for_nothing},
	{0},
};
