// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.3: what a device does and leaves alone in each state: registers, transfers, interrupts, and
 * what its peers do to it.  Of the test device, whose registers are known.
 */
#include <sched.h>
#include "e.h"

enum { SCRATCH = 0x08, IRQ = 0x10, PIN = 0x14, STATUS = 0x34, COUNT = 0x3c };
enum { FROM_MEMORY = 1, TO_MEMORY = 2 }; /* DMA_COMMAND */
enum { BUSY = 1, DONE = 2, FAILED = 3 }; /* DMA_STATUS */

#define SOON_MS   5000
#define NEVER_MS  30
#define MESSAGES  VFIO_PCI_MSIX_IRQ_INDEX
#define TRIGGER   (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define UNMASK    (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)
#define BIG       (1u << 20)
#define PEER_IOVA (t->f->iova_first + (8ull << 20))

static void on(struct t *t, unsigned state)
{
	must(t, state_name(state), set_state(t, state, NULL));
}

/* Long enough for a device that does what it must not, as far as that can be had without time. */
static void let_it_try(struct t *t)
{
	for (unsigned i = 0; i < 500; i++) {
		get_state(t);
		sched_yield();
	}
}

/* ---- registers ---- */

static void registers(struct t *t)
{
	static const unsigned states[] = {STOP, STOP_COPY, RESUMING};
	volatile uint32_t *map;
	uint32_t value;

	movable(t, 0);
	needs_pcitest(t);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, t->dev,
		   (off_t)t->f->region_offset[2]);
	must(t, "map", map == MAP_FAILED ? -errno : 0);
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		int fd;

		reg_put(t, SCRATCH, 0x1234);
		*map = 0x5678;
		fd = go(t, states[i]);
		see_hex(t, state_name(states[i]), reg_get(t, SCRATCH), 0xffffffff);
		reg_put(t, SCRATCH, 0x9999);
		value = 0;
		see(t, "touch", touch(map, &value), 0);
		see_hex(t, "memory", value, 0xffffffff);
		value = 0x9999;
		see(t, "touch-write", touch_write(map, value), 0);
		see(t, "run", set_state(t, RUNNING, NULL), 0);
		see_hex(t, "kept", reg_get(t, SCRATCH), 0x1234);
		see_hex(t, "memory-kept", *map, 0x5678);
		if (fd >= 0)
			close(fd);
	}
}

/* Config space is the user's in every state: a VMM restores it before the device runs. */
static void config(struct t *t)
{
	static const unsigned states[] = {STOP, STOP_COPY, RESUMING, RUNNING_P2P};
	unsigned can = movable(t, 0);
	uint32_t value;

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		int fd;

		if (!has_state(can, states[i]))
			continue;
		fd = go(t, states[i]);
		must(t, "vendor", cfg_read(t, 0, 2) == facts_get(t->f, 0, 2) ? 0 : -EIO);
		cfg_write(t, 4, 2, 0);
		cfg_write(t, 4, 2, 6);
		must(t, "command", (cfg_read(t, 4, 2) & 6) == 6 ? 0 : -EIO);
		must(t, "state", get_state(t) == states[i] ? 0 : -EIO);
		cfg_write(t, 4, 2, 0);
		on(t, RUNNING);
		must(t, "memory-off", bar_pread32(t, &value) == -EIO ? 0 : -EPROTO);
		cfg_write(t, 4, 2, 6);
		must(t, "memory-on", bar_pread32(t, &value));
		if (fd >= 0)
			close(fd);
	}
	see_state(t, "state", RUNNING);
}

/* Nothing but SET and a reset changes it. */
static void stays(struct t *t)
{
	static const unsigned states[] = {STOP, STOP_COPY, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P};
	unsigned can = movable(t, 0);

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		int fd;

		if (!has_state(can, states[i]))
			continue;
		fd = go(t, states[i]);
		cfg_write(t, 4, 2, 0x406);
		cfg_write(t, 4, 2, 0);
		cfg_write(t, 4, 2, 6);
		set_power(t, 3);
		set_power(t, 0);
		cfg_write(t, 4, 2, 6);
		must(t, "entry", feature_call(t, 8, SET | 3, NULL, 0));
		must(t, "exit", feature_call(t, 8, SET | 5, NULL, 0));
		let_it_try(t);
		see_state(t, state_name(states[i]), states[i]);
		on(t, RUNNING);
		if (fd >= 0)
			close(fd);
	}
}

/* ---- transfers ---- */

/* @pages of ours at iova_first. */
static uint8_t *mapped(struct t *t, size_t pages)
{
	uint8_t *p = new_pages(t, pages);

	must(t, "dma-map", dma_map(t->container, t->f->iova_first, p, pages * PAGE));
	cfg_write(t, 4, 2, 6);
	return p;
}

static void fill_memory(struct t *t, uint8_t byte)
{
	static uint8_t bytes[1 << 16];

	memset(bytes, byte, sizeof(bytes));
	for (uint32_t at = 0; at < BIG; at += sizeof(bytes))
		memory_put(t, at, bytes, sizeof(bytes));
}

static size_t count_bytes(const volatile uint8_t *p, uint8_t byte)
{
	size_t n = 0;

	for (size_t i = 0; i < BIG; i++)
		n += p[i] == byte;
	return n;
}

/* What is under way when the device stops waits, moves nothing meanwhile, and goes on. */
static void under_way(struct t *t)
{
	static const unsigned ways[][2] = {
		{STOP, STOP}, {RUNNING_P2P, STOP}, {STOP_COPY, STOP_COPY}};
	unsigned can = movable(t, 0);
	uint32_t ended = 0;
	uint8_t *p;

	needs_pcitest(t);
	p = mapped(t, BIG / PAGE);
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		uint8_t byte = (uint8_t)(0x10 + i);
		size_t before;

		if (!has_state(can, ways[i][0]))
			continue;
		fill_memory(t, byte);
		dma_begin(t, t->f->iova_first, BIG, 0, TO_MEMORY);
		on(t, ways[i][0]);
		on(t, ways[i][1]);
		before = count_bytes(p, byte);
		let_it_try(t);
		must(t, "moved-nothing", count_bytes(p, byte) == before ? 0 : -EIO);
		on(t, RUNNING);
		must(t, "ended", dma_ended(t, ++ended) ? 0 : -EIO);
		see(t, "status", reg_get(t, STATUS), DONE);
		see_as(t, "moved", (long)count_bytes(p, byte), BIG, "all");
	}
}

/* A command that comes in the P2P state is taken, and waits; registers answer as ever. */
static void starts_nothing(struct t *t)
{
	static const unsigned states[] = {RUNNING_P2P, PRE_COPY_P2P};
	unsigned can = movable(t, CAN_P2P);
	uint32_t ended = 0;
	uint8_t *p;

	needs_pcitest(t);
	p = mapped(t, BIG / PAGE);
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		uint8_t byte = (uint8_t)(0x20 + i);

		if (!has_state(can, states[i]))
			continue;
		fill_memory(t, byte);
		on(t, states[i]);
		reg_put(t, SCRATCH, 0x4321);
		see_hex(t, "scratch", reg_get(t, SCRATCH), 0x4321);
		dma_begin(t, t->f->iova_first, BIG, 0, TO_MEMORY);
		let_it_try(t);
		see(t, "status", reg_get(t, STATUS), BUSY);
		see(t, "moved", (long)count_bytes(p, byte), 0);
		on(t, STOP);
		on(t, RUNNING);
		see_true(t, "ended", dma_ended(t, ++ended));
		see(t, "status", reg_get(t, STATUS), DONE);
		see_as(t, "moved", (long)count_bytes(p, byte), BIG, "all");
	}
}

/* Bus mastering that comes back does not start it either, nor does power. */
static void not_started(struct t *t)
{
	uint8_t *p;

	movable(t, CAN_P2P);
	needs_pcitest(t);
	p = mapped(t, BIG / PAGE);
	fill_memory(t, 0x31);
	on(t, RUNNING_P2P);
	dma_begin(t, t->f->iova_first, BIG, 0, TO_MEMORY);
	cfg_write(t, 4, 2, 2);
	cfg_write(t, 4, 2, 6);
	let_it_try(t);
	see(t, "moved", (long)count_bytes(p, 0x31), 0);
	on(t, RUNNING);
	see_true(t, "ended", dma_ended(t, 1));
	see_as(t, "moved", (long)count_bytes(p, 0x31), BIG, "all");
}

/* Power that comes back in that state resets the device, and still it starts nothing. */
static void power(struct t *t)
{
	uint8_t *p;

	movable(t, CAN_P2P);
	needs_pcitest(t);
	p = mapped(t, BIG / PAGE);
	fill_memory(t, 0x33);
	on(t, RUNNING_P2P);
	set_power(t, 3);
	set_power(t, 0);
	cfg_write(t, 4, 2, 6);
	dma_begin(t, t->f->iova_first, BIG, 0, TO_MEMORY);
	let_it_try(t);
	see(t, "status", reg_get(t, STATUS), BUSY);
	see(t, "moved", (long)count_bytes(p, 0x33), 0);
	on(t, RUNNING);
	see_true(t, "ended", dma_ended(t, 1));
	see(t, "status", reg_get(t, STATUS), DONE);
	see_as(t, "moved", (long)count_bytes(p, 0x33), BIG, "all");
}

/* A transfer that was under way goes on where the stream was loaded. */
static void moves_along(struct t *t)
{
	struct stream s = {0};
	uint8_t *p;
	int fd;

	movable(t, 0);
	needs_pcitest(t);
	p = mapped(t, BIG / PAGE);
	fill_memory(t, 0x41);
	dma_begin(t, t->f->iova_first, BIG, 0, TO_MEMORY);
	must(t, "stop", set_state(t, STOP_COPY, &fd));
	must(t, "save", read_all(t, fd, &s));
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
	fill_memory(t, 0x42);
	must(t, "load", load_stream(t, s.bytes, s.len));
	on(t, RUNNING);
	see_true(t, "ended", dma_ended(t, 1));
	see(t, "status", reg_get(t, STATUS), DONE);
	see_as(t, "moved", (long)count_bytes(p, 0x41), BIG, "all");
}

/* ---- interrupts ---- */

static int message(struct t *t)
{
	int32_t fd = new_eventfd(t);

	cfg_write(t, 4, 2, 6);
	must(t, "enable", set_irqs(t, MESSAGES, TRIGGER, 0, 1, &fd));
	return fd;
}

static int pin(struct t *t)
{
	int32_t fd = new_eventfd(t);

	must(t, "enable", set_irqs(t, VFIO_PCI_INTX_IRQ_INDEX, TRIGGER, 0, 1, &fd));
	return fd;
}

/* Messages are DMA, and a pin is none; a device that is quiet starts neither. */
static void interrupts_wait(struct t *t)
{
	static const unsigned states[] = {RUNNING_P2P, PRE_COPY_P2P};
	unsigned can = movable(t, CAN_P2P);
	const uint32_t *level = t->rule->arg;
	int fd;

	needs_pcitest(t);
	fd = level ? pin(t) : message(t);
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		if (!has_state(can, states[i]))
			continue;
		on(t, states[i]);
		reg_put(t, level ? PIN : IRQ, 1);
		see(t, "meanwhile", (long)take(fd, NEVER_MS), 0);
		on(t, STOP);
		see(t, "stopped", (long)take(fd, NEVER_MS), 0);
		on(t, RUNNING);
		see(t, "afterwards", (long)take(fd, SOON_MS), 1);
		see(t, "again", (long)take(fd, NEVER_MS), 0);
		if (level) {
			reg_put(t, PIN, 0);
			must(t, "unmask", set_irqs(t, VFIO_PCI_INTX_IRQ_INDEX, UNMASK, 0, 1, NULL));
		}
	}
}

static void interrupts_move(struct t *t)
{
	struct stream s = {0};
	int fd, data;

	movable(t, CAN_P2P);
	needs_pcitest(t);
	fd = message(t);
	on(t, RUNNING_P2P);
	reg_put(t, IRQ, 1);
	must(t, "stop", set_state(t, STOP_COPY, &data));
	must(t, "save", read_all(t, data, &s));
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
	see(t, "reset", (long)take(fd, NEVER_MS), 0);
	must(t, "load", load_stream(t, s.bytes, s.len));
	see(t, "loaded", (long)take(fd, NEVER_MS), 0);
	on(t, RUNNING);
	see(t, "running", (long)take(fd, SOON_MS), 1);
	see(t, "again", (long)take(fd, NEVER_MS), 0);
}

/* In PRE_COPY it does what it always does. */
static void pre_copy_runs(struct t *t)
{
	uint8_t *p;
	int fd;

	movable(t, CAN_PRE_COPY);
	needs_pcitest(t);
	p = mapped(t, BIG / PAGE);
	fd = message(t);
	on(t, PRE_COPY);
	fill_memory(t, 0x51);
	dma_begin(t, t->f->iova_first, BIG, 0, TO_MEMORY | 1u << 8);
	see(t, "interrupt", (long)take(fd, SOON_MS), 1);
	see(t, "status", reg_get(t, STATUS), DONE);
	see_as(t, "moved", (long)count_bytes(p, 0x51), BIG, "all");
}

/* ---- peers ---- */

/* The second device, in the same container, as if it were the case's own. */
static struct t open_peer(struct t *t)
{
	struct t peer = *t;

	peer.f = t->other;
	if (facts_get(t->other, 0, 4) != facts_get(t->f, 0, 4))
		skip(t, "the second device is another one");
	peer.group = open_group(t->other);
	must(t, "peer-group", sys(peer.group));
	must(t, "peer-container", set_container(peer.group, t->container));
	peer.dev = (int)get_device(peer.group, t->other->bdf);
	must(t, "peer", peer.dev);
	cfg_write(t, 4, 2, 6);
	cfg_write(&peer, 4, 2, 6);
	return peer;
}

/* BAR 2 of @of at @iova, for DMA. */
static void map_peer(struct t *t, struct t *of, uint64_t iova)
{
	void *map = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_SHARED, of->dev,
			 (off_t)of->f->region_offset[2]);

	must(t, "map-peer", map == MAP_FAILED ? -errno : 0);
	must(t, "dma-map-peer", dma_map(t->container, iova, map, BIG));
}

static void peer_writes(struct t *t)
{
	struct t peer;
	uint32_t word;

	movable(t, CAN_P2P);
	needs_pcitest(t);
	peer = open_peer(t);
	map_peer(t, t, PEER_IOVA);
	fill_memory(t, 0);
	fill_memory(&peer, 0x61);
	on(t, RUNNING_P2P);
	dma_begin(&peer, PEER_IOVA, BIG, 0, TO_MEMORY);
	see_true(t, "ended", dma_ended(&peer, 1));
	see(t, "status", reg_get(&peer, STATUS), DONE);
	memory_get(t, BIG - 4, &word, 4);
	see_hex(t, "landed", word, 0x61616161);
	/* Who stops before all are quiet gets a fault instead, and nothing of it. */
	on(t, STOP);
	fill_memory(&peer, 0x62);
	dma_begin(&peer, PEER_IOVA, BIG, 0, TO_MEMORY);
	see_true(t, "ended", dma_ended(&peer, 2));
	see(t, "stopped", reg_get(&peer, STATUS), FAILED);
	on(t, RUNNING);
	memory_get(t, BIG - 4, &word, 4);
	see_hex(t, "unchanged", word, 0x61616161);
	memory_get(t, 0, &word, 4);
	see_hex(t, "unchanged", word, 0x61616161);
	dma_begin(&peer, PEER_IOVA, BIG, 0, TO_MEMORY);
	see_true(t, "ended", dma_ended(&peer, 3));
	see(t, "running", reg_get(&peer, STATUS), DONE);
	memory_get(t, BIG - 4, &word, 4);
	see_hex(t, "landed", word, 0x62626262);
}

/* Both write into each other when they are stopped, in the order that E.3 asks for: no transfer
 * fails, and none is lost. */
static void two_passes(struct t *t)
{
	struct t peer, *both[2] = {t, &peer};
	unsigned can = movable(t, CAN_P2P), wrong = 0, rounds = 12;

	needs_pcitest(t);
	peer = open_peer(t);
	for (unsigned i = 0; i < 2; i++)
		map_peer(t, both[i], PEER_IOVA + i * BIG);
	for (unsigned round = 1; round <= rounds; round++) {
		bool copy = has_state(can, PRE_COPY_P2P) && round % 2;

		/* The upper half of each goes to the lower half of the other, in small commands. */
		for (unsigned i = 0; i < 2; i++) {
			uint32_t word = 0x01010101 * (round * 2 + i);

			for (uint32_t at = BIG / 2; at < BIG; at += PAGE)
				memory_put(both[i], at, &word, 4);
		}
		if (copy)
			for (unsigned i = 0; i < 2; i++)
				on(both[i], PRE_COPY);
		for (unsigned i = 0; i < 2; i++)
			dma_begin(both[i], PEER_IOVA + !i * BIG, BIG / 2, BIG / 2, TO_MEMORY);
		for (unsigned i = 0; i < 2; i++)
			on(both[i], copy ? PRE_COPY_P2P : RUNNING_P2P);
		for (unsigned i = 0; i < 2; i++)
			on(both[i], copy ? STOP_COPY : STOP);
		for (unsigned i = 0; i < 2; i++)
			on(both[i], RUNNING_P2P);
		for (unsigned i = 0; i < 2; i++)
			on(both[i], RUNNING);
		for (unsigned i = 0; i < 2; i++) {
			wrong += !dma_ended(both[i], round);
			wrong += reg_get(both[i], STATUS) != DONE;
		}
		for (unsigned i = 0; i < 2; i++) {
			uint32_t want = 0x01010101 * (round * 2 + !i), word;

			for (uint32_t at = 0; at < BIG / 2; at += PAGE) {
				memory_get(both[i], at, &word, 4);
				wrong += word != want;
			}
		}
	}
	see(t, "wrong", wrong, 0);
}

/* ---- dirty pages ---- */

static long log_start(struct t *t, uint64_t iova, uint64_t length)
{
	const uint64_t range[2] = {iova, length};
	struct {
		uint64_t page_size;
		uint32_t nr, reserved;
		uint64_t ranges;
	} control = {PAGE, 1, 0, (uintptr_t)range};

	return feature_call(t, 8 + sizeof(control), SET | 6, &control, sizeof(control));
}

static void log_report(struct t *t, uint64_t iova, uint64_t length, uint64_t *bits)
{
	uint64_t data[4] = {iova, length, PAGE, (uintptr_t)bits};

	must(t, "report", feature_call(t, 8 + sizeof(data), GET | 8, data, sizeof(data)));
}

/* Two devices, saved while they write: what both logs say together is what they wrote, and after
 * they have stopped there is no more of it. */
static void dirty_union(struct t *t)
{
	struct t peer, *both[2] = {t, &peer};
	const uint64_t length = BIG, pages = BIG / PAGE;
	uint64_t bits[BIG / PAGE / 64] = {0}, after[BIG / PAGE / 64] = {0};
	unsigned wrong = 0, can;
	uint8_t *p;

	can = movable(t, CAN_P2P);
	needs_pcitest(t);
	p = mapped(t, pages);
	peer = open_peer(t);
	memset(p, 0, BIG);
	for (unsigned i = 0; i < 2; i++) {
		fill_memory(both[i], (uint8_t)(0x71 + i));
		must(t, "start", log_start(both[i], t->f->iova_first, length));
		if (can & CAN_PRE_COPY)
			on(both[i], PRE_COPY);
	}
	/* Overlapping parts, in different places of pages; the second one is under way when it is
	 * stopped, and ends elsewhere in time. */
	dma_begin(t, t->f->iova_first + 100, 40 * PAGE, 0, TO_MEMORY);
	dma_begin(&peer, t->f->iova_first + 30 * PAGE - 1, 100 * PAGE, 0, TO_MEMORY);
	must(t, "ended", dma_ended(t, 1) ? 0 : -EIO);
	log_report(t, t->f->iova_first, length, bits);
	log_report(&peer, t->f->iova_first, length, bits);
	dma_begin(t, t->f->iova_first + 200 * PAGE + 5, 1, 0, TO_MEMORY);
	for (unsigned i = 0; i < 2; i++)
		on(both[i], can & CAN_PRE_COPY ? PRE_COPY_P2P : RUNNING_P2P);
	for (unsigned i = 0; i < 2; i++)
		on(both[i], STOP_COPY);
	log_report(t, t->f->iova_first, length, bits);
	log_report(&peer, t->f->iova_first, length, bits);
	for (uint64_t page = 0; page < pages; page++) {
		bool written = false, said = bits[page / 64] >> page % 64 & 1;

		for (unsigned i = 0; i < PAGE; i++)
			written = written || p[page * PAGE + i];
		wrong += written != said;
	}
	see(t, "wrong", wrong, 0);
	let_it_try(t);
	log_report(t, t->f->iova_first, length, after);
	log_report(&peer, t->f->iova_first, length, after);
	for (unsigned i = 0; i < ARRAY_LEN(after); i++)
		wrong += after[i] != 0;
	see(t, "afterwards", wrong, 0);
	/* What they go on with is logged as well. */
	for (unsigned i = 0; i < 2; i++)
		on(both[i], RUNNING);
	must(t, "ended", dma_ended(t, 2) && dma_ended(&peer, 1) ? 0 : -EIO);
	log_report(t, t->f->iova_first, length, bits);
	log_report(&peer, t->f->iova_first, length, bits);
	for (uint64_t page = 0; page < pages; page++) {
		bool want = page <= 40 || (page >= 29 && page < 130) || page == 200;

		wrong += want != (bits[page / 64] >> page % 64 & 1);
	}
	see(t, "in-all", wrong, 0);
}

static const uint32_t pin_level = 1;
#define TWO (NEED_OTHER | NEED_IOMMU)
static const struct rule rules[] = {
	{"E.3/stopped/registers", OPEN_DEVICE, 0, registers},
	{"E.3/stopped/config", OPEN_DEVICE, NEED_BAR, config},
	{"E.3/stopped/stays", OPEN_DEVICE, NEED_PM, stays},
	{"E.3/stopped/under-way", OPEN_DEVICE, NEED_IOMMU, under_way},
	{"E.3/stopped/moves-along", OPEN_DEVICE, NEED_IOMMU | NEED_RESET, moves_along},
	{"E.3/p2p/starts-nothing", OPEN_DEVICE, NEED_IOMMU, starts_nothing},
	{"E.3/p2p/not-started", OPEN_DEVICE, NEED_IOMMU, not_started},
	{"E.3/p2p/power", OPEN_DEVICE, NEED_IOMMU | NEED_PM, power},
	{"E.3/p2p/interrupts-wait", OPEN_DEVICE, NEED_MSIX, interrupts_wait},
	{"E.3/p2p/pin-waits", OPEN_DEVICE, NEED_INTX, interrupts_wait, &pin_level},
	{"E.3/p2p/interrupts-move", OPEN_DEVICE, NEED_MSIX | NEED_RESET, interrupts_move},
	{"E.3/p2p/peer-writes", OPEN_DEVICE, TWO, peer_writes},
	{"E.3/p2p/two-passes", OPEN_DEVICE, TWO, two_passes},
	{"E.3/pre-copy/runs", OPEN_DEVICE, NEED_IOMMU | NEED_MSIX, pre_copy_runs},
	{"E.3/dirty/union", OPEN_DEVICE, TWO, dirty_union},
};
const struct section section_e3_stopped = SECTION("E.3", rules);
