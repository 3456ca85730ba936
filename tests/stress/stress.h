/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `unmap` is a barrier: a program that maps, unmaps, replaces and cuts memory while devices move
 * data at random, in and out of it.
 *
 * Theory of operation.  IOVAs are cut into windows.  Behind a window are two pieces of memory, of
 * which at most one is mapped at a time.  A byte says what a place is:
 *
 *   BYTE_GONE    not mapped: who unmapped it filled it with this, when unmap had returned, and
 * takes it back before it maps it again.  Memory that is mapped for writing only, too. BYTE_MAPPED
 * mapped, and what was there at first BYTE_DEVICE  what devices write BYTE_QUIET   in a sink, while
 * the device that writes there must not
 *
 * So a device that writes to memory after it was unmapped changes a BYTE_GONE; one that reads it
 * delivers one to where all it delivers is looked at (a sink).  Devices copy from window to window,
 * too, so that both ends of a transfer may go; but what is mapped never has a BYTE_GONE in it, and
 * so none can come from there.
 *
 * The same program runs through every door: what a device is reached by is uvfio/driver.h's
 * business.
 *
 * Threads: a window belongs to a mapper, a device to a thread of its own (an engine).  They have
 * the counters in common.
 */
#ifndef TESTS_STRESS_STRESS_H
#define TESTS_STRESS_STRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uvfio/driver.h>

#define STRESS_PAGE  4096u
#define WINDOW_BYTES 65536u
#define WINDOWS      24u
#define WINDOW_IOVA  0x300000000ull
#define PEERS        8u /* windows behind the others, of device memory: peers.c */
#define MAPPERS      2u
#define MAX_ENGINES  8u
#define SINK_BYTES   WINDOW_BYTES
#define MAX_BATCH    8u

enum { BYTE_GONE = 0xA5, BYTE_MAPPED = 0x4D, BYTE_DEVICE = 0x22, BYTE_QUIET = 0x33 };

struct memory;
struct stress;

enum engine_kind { ENGINE_IOAT, ENGINE_PCITEST, ENGINE_NVME, NR_ENGINE_KINDS };

/* What takes a device's memory away for a while: away.c. */
enum away { AWAY_DECODE, AWAY_D3, AWAY_LOW_POWER, AWAY_FLR, AWAY_HOT, NR_AWAYS };
extern const char *const away_names[NR_AWAYS];

struct engine {
	struct stress *stress;
	struct uvfio_pci *dev;
	enum engine_kind kind;
	char name[96];
	uint64_t seed;
	int irq; /* eventfd of vector 0 */
	/* Mapped for good: MAX_BATCH sinks, a source (BYTE_DEVICE), what the device needs. */
	struct uvfio_pci_mem sink, source, ring;
	bool sinks_quiet; /* all of ->sink is BYTE_QUIET, and must be */
	void *priv;
	char device[96]; /* what it was opened by */
	const char *options;
	_Atomic uint64_t turns, good, faults, resets, stops, reopens, replaced, lost;
	_Atomic uint64_t away[NR_AWAYS];
	pthread_t thread;
};

/* A part of device memory: peers.c. */
enum part { PART_UNMAPPED, PART_MAPPED, PART_DEAD /* mapped, and nobody may reach it by that */ };
struct peers {
	struct stress *stress;
	struct engine *owner; /* NULL: there is no device memory */
	pthread_mutex_t lock;
	uint64_t seed;
	enum part parts[PEERS];
	pthread_t thread;
	uint8_t data[WINDOW_BYTES];
};

struct stress {
	struct uvfio_dma_space *space;
	uint64_t seed;
	bool cut; /* files are cut while they are mapped */
	struct engine engines[MAX_ENGINES];
	unsigned nr_engines;
	struct mapper {
		struct stress *stress;
		uint64_t seed;
		pthread_t thread;
	} mappers[MAPPERS];
	struct window {
		struct memory *memory[2];
		int mapped; /* which one, -1: none */
	} windows[WINDOWS];
	int slices; /* a file that several windows have a part of */
	bool use_peers;
	struct peers peers;
	/* A device that was closed is opened again by this name (KIND=DEVICE, @size bytes); NULL:
	 * by the one that it had. */
	int (*reconnect)(struct engine *e, char *name, size_t size);
	/* Before that: what else may happen to a device that is in use.  True: it is another one
	 * afterwards, of the same name. */
	bool (*mishap)(struct engine *e);
	bool host_resets; /* the owner of the peers is also reset by somebody else */
	atomic_bool stop;
	atomic_bool enough; /* asked to end, but not before something has happened */
	_Atomic uint64_t maps, unmaps, checks, lets_go, cuts, peer_maps, peer_deaths;
	_Atomic uint64_t bad; /* what must not happen; each is printed, up to a limit */
};

/* One thing that must not happen. */
void stress_bad(struct stress *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Random numbers: any, and less than @n. */
uint64_t stress_random(uint64_t *seed);
static inline uint32_t stress_below(uint64_t *seed, uint32_t n)
{
	return (uint32_t)(stress_random(seed) % n);
}
/* The first byte of [@p, @p + @len) that is not @byte, or @len; the first that is. */
size_t stress_other(const void *p, uint8_t byte, size_t len);
size_t stress_find(const void *p, uint8_t byte, size_t len);

/* ---- windows.c ---- */

int windows_new(struct stress *s);
/* All that is unmapped is looked at once more, all that is mapped is unmapped. */
void windows_end(struct stress *s);
void *mapper_run(void *mapper);

/* ---- peers.c ---- */

/* After engines were opened, and before their threads run: the memory of the first test device is
 * mapped for all. */
int peers_start(struct stress *s);
void peers_end(struct stress *s);
enum peers_event { PEERS_NOTHING, PEERS_AWAY, PEERS_CLOSED, PEERS_REPLACED };
/* Around what takes @e's memory away and back; only the owner of the peers waits for anything. */
void peers_hold(struct engine *e);
void peers_before_close(struct engine *e, bool replaced); /* held */
void peers_let_go(struct engine *e, enum peers_event event);

/* ---- away.c ---- */

/* Take the memory of @e's device away and give it back, in one way of those that it has. */
int away_once(struct engine *e, enum away *which);

/* ---- engine.c ---- */

/* Open @name, KIND=DEVICE, with @options (uvfio_pci_open()) as the next engine.  0, or 1 and says
 * why not. */
int engine_open(struct stress *s, const char *name, const char *options);
void engine_close(struct engine *e);
void *engine_run(void *engine);

/* What a kind of device can do.  All return 0 or -errno. */
struct engine_ops {
	const char *name;
	int (*open)(struct engine *e, const char *name);
	/* Bring it up from any state. */
	int (*start)(struct engine *e);
	/* Begin a batch of transfers. */
	int (*begin)(struct engine *e);
	/* Wait for it; 1: it ended with an error, after which the device is to be started anew. */
	int (*wait)(struct engine *e);
	/* Bus mastering was off in the midst of a batch, and is on again. */
	int (*stopped)(struct engine *e);
	/* Look at what was delivered, also by a batch that failed. */
	void (*look)(struct engine *e);
	void (*close)(struct engine *e);
};
extern const struct engine_ops ioat_ops, pcitest_ops, nvme_ops;

/* Open it, with sinks, source, ->ring and ->irq. */
int engine_open_plain(struct engine *e, const char *name, size_t ring);
/* An IOVA in the windows, for a transfer of @len bytes, with the low bits of @align clear. */
uint64_t engine_target(struct engine *e, uint32_t len, uint32_t align);
/* Mostly short, up to WINDOW_BYTES. */
uint32_t engine_length(struct engine *e);
/* Sink @n, and its IOVA. */
static inline uint8_t *engine_sink(struct engine *e, unsigned n)
{
	return (uint8_t *)e->sink.addr + n * SINK_BYTES;
}
static inline uint64_t engine_sink_iova(const struct engine *e, unsigned n)
{
	return e->sink.iova + n * SINK_BYTES;
}
/* What came to [@p, +@len) must not be of unmapped memory. */
void engine_delivered(struct engine *e, const void *p, size_t len, const char *what);
/* If somebody else may reset it and has: enable what it needs.  While it is waited for, too: until
 * it may do DMA it does nothing. */
int engine_recover(struct engine *e);
/* Until vector 0 was raised, or a little while has passed. */
void engine_wait_irq(struct engine *e);

/* ---- stress.c ---- */

int stress_new(struct stress *s, uint64_t seed, bool cut);
int stress_start(struct stress *s);
/* Until @seconds have passed and enough has happened in each of the @nr; false: at once, when
 * something bad was seen. */
#define STRESS_PATIENCE 60u /* s, for that */
bool stress_wait(struct stress *s, unsigned nr, unsigned seconds);
void stress_end(struct stress *s);
/* Everything is closed.  0: nothing bad, and enough was done. */
int stress_finish(struct stress *s, const char *title);

#endif
