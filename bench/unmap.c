/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An unmap is a barrier: it returns when the last transfer in its range has ended, and how long
 * after that.  A device, a thread on CPU 1, copies out of a mapping again and again; another thread
 * unmaps it in the middle of that.  Only those unmaps count that had a transfer to wait for.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "bench.h"
#include "iommu/space.h"

#define UNMAPS 200u
#define LARGE  (1ull << 20)

struct set {
	struct iommu_space *space;
	int fd;
	size_t len;         /* of a transfer */
	atomic_bool mapped; /* so that the device may begin */
	atomic_bool quit;
	_Atomic uint64_t end; /* of the last transfer, ns */
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "unmap: %s failed\n", what);
	exit(2);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		sched_setaffinity(0, sizeof(set), &set);
}

static void *device(void *arg)
{
	static uint8_t buf[LARGE];
	struct iommu_fault fault;
	struct set *set = arg;

	pin(1);
	while (!atomic_load(&set->quit)) {
		if (!atomic_load(&set->mapped))
			continue;
		if (iommu_copy(set->space, NULL, 0, buf, set->len, false, &fault))
			atomic_store(&set->mapped, false);
		else
			atomic_store(&set->end, bench_ns());
	}
	return NULL;
}

/* ---- */

/* µs between a wake-up and the end of a sleep, the other CPU having nothing else to do: what an
 * unmap takes that has to sleep. */
struct sleeper {
	_Atomic uint32_t word;
	_Atomic uint64_t woken;
	atomic_uint turns;
};

static void *sleeps(void *arg)
{
	struct sleeper *s = arg;

	pin(1);
	for (unsigned i = 0; i < UNMAPS; i++) {
		while (atomic_load(&s->word) == i)
			syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, i, NULL, NULL, 0);
		atomic_store(&s->woken, bench_ns());
		atomic_store(&s->turns, i + 1);
	}
	return NULL;
}

static double wake_up(void *arg)
{
	struct sleeper s = {0};
	pthread_t thread;
	double v[UNMAPS];

	pin(0);
	if (pthread_create(&thread, NULL, sleeps, &s))
		die("pthread_create");
	for (unsigned i = 0; i < UNMAPS; i++) {
		uint64_t start;

		usleep(100);
		start = bench_ns();
		atomic_store(&s.word, i + 1);
		syscall(SYS_futex, &s.word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		while (atomic_load(&s.turns) == i)
			;
		v[i] = (double)(atomic_load(&s.woken) - start) / 1000;
	}
	pthread_join(thread, NULL);
	return bench_median(v, UNMAPS);
}

static void map(struct set *set, uint64_t iova)
{
	struct iommu_mem mem = {IOMMU_MEM_FILE, set->fd, 0, LARGE, {1, 1}, 4096};

	if (iommu_map(set->space, iova, LARGE, 3, &mem, 1))
		die("iommu_map");
}

/* µs between the end of a transfer and that of the unmap that waited for it. */
static double beyond(struct set *set, uint64_t *seed)
{
	uint64_t start, now, count, first, wait = bench_random(seed) % 50000;

	for (;;) {
		map(set, 0);
		first = atomic_load(&set->end);
		atomic_store(&set->mapped, true);
		while (atomic_load(&set->end) == first)
			;
		start = bench_ns();
		while (bench_ns() - start < wait)
			;
		start = bench_ns();
		iommu_unmap(set->space, 0, LARGE - 1, &count);
		now = bench_ns();
		if (count != 1)
			die("iommu_unmap");
		while (atomic_load(&set->mapped))
			;
		first = atomic_load(&set->end);
		if (first > start)
			return first > now ? 0 : (double)(now - first) / 1000;
	}
}

static double unmaps(void *arg)
{
	struct set *set = arg;
	uint64_t seed = 7;
	pthread_t thread;
	double v[UNMAPS];

	pin(0);
	atomic_store(&set->quit, false);
	if (pthread_create(&thread, NULL, device, set))
		die("pthread_create");
	for (unsigned i = 0; i < UNMAPS; i++)
		v[i] = beyond(set, &seed);
	atomic_store(&set->quit, true);
	pthread_join(thread, NULL);
	return bench_median(v, UNMAPS);
}

int main(void)
{
	static const size_t lens[] = {4096, 65536, LARGE};
	struct set sets[3];
	struct bench_case cases[] = {
		{"bare: to wake up a thread that sleeps", "us", wake_up, NULL},
		{"beyond the last transfer of 4 KiB", "us", unmaps, &sets[0], BENCH_AT_MOST, 10},
		{"beyond the last transfer of 64 KiB", "us", unmaps, &sets[1], BENCH_AT_MOST, 10},
		{"beyond the last transfer of 1 MiB", "us", unmaps, &sets[2], BENCH_AT_MOST, 10},
	};

	for (unsigned i = 0; i < 3; i++) {
		memset(&sets[i], 0, sizeof(sets[i]));
		sets[i].len = lens[i];
		sets[i].space = iommu_space_new(16);
		sets[i].fd = memfd_create("bench", MFD_CLOEXEC);
		if (!sets[i].space || sets[i].fd < 0 || ftruncate(sets[i].fd, LARGE))
			die("setting up");
		/* Another one of the file stays: it need not be unmapped here. */
		map(&sets[i], LARGE);
	}
	return bench_run("An unmap waits for the transfers in its range", cases, 4, 7) != 0;
}
