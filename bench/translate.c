/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address translation and mapping: what the core itself costs.
 *
 * To translate is to find the mapping of an IOVA and the host address behind it inside an RCU
 * section, the section included.  Lookups are independent of one another, as those of a device with
 * many requests are; the row "one after the other" makes each wait for the one before it.  A
 * transfer also takes the in-flight reference; it has rows of its own.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include "bench.h"
#include "iommu/space_private.h"

#define LOOKUPS (1u << 19)
#define MILLION 1000000u

struct set {
	struct iommu_space *space;
	int fd;
	unsigned nr;
	uint64_t seed, range; /* pages are drawn from [0, range) */
	uint64_t *iova;       /* of each mapping */
	uint64_t *queries;
	uint64_t spare; /* an IOVA that stays unmapped */
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "translate: %s failed\n", what);
	exit(2);
}

static int map_page(struct set *set, uint64_t iova, uint64_t n)
{
	struct iommu_mem mem = {
		IOMMU_MEM_FILE, set->fd, n * IOMMU_PAGE_SIZE, IOMMU_PAGE_SIZE, {1, 1}, 4096,
	};

	return iommu_map(set->space, iova, IOMMU_PAGE_SIZE, IOMMU_READ | IOMMU_WRITE, &mem, 1);
}

static void fill(struct set *set)
{
	set->seed = 7;
	for (unsigned n = 0; n < set->nr;) {
		uint64_t iova = bench_random(&set->seed) % set->range * IOMMU_PAGE_SIZE;
		int ret = map_page(set, iova, n);

		if (!ret)
			set->iova[n++] = iova;
		else if (ret != -EEXIST)
			die("iommu_map");
	}
}

static void make(struct set *set, unsigned nr, uint64_t range)
{
	*set = (struct set){.nr = nr, .range = range, .spare = (range + 1) * IOMMU_PAGE_SIZE};
	set->space = iommu_space_new(2 * MILLION);
	set->fd = memfd_create("bench", MFD_CLOEXEC);
	set->iova = calloc(nr, sizeof(*set->iova));
	set->queries = calloc(LOOKUPS, sizeof(*set->queries));
	if (!set->space || set->fd < 0 || !set->iova || !set->queries ||
	    ftruncate(set->fd, (off_t)(MILLION + 1) * (off_t)IOMMU_PAGE_SIZE))
		die("setting up");
	fill(set);
	for (unsigned i = 0; i < LOOKUPS; i++)
		set->queries[i] = set->iova[bench_random(&set->seed) % nr] +
				  bench_random(&set->seed) % IOMMU_PAGE_SIZE;
}

static inline uint8_t *translate(const struct iommu_space *space, struct iommu_cache *cache,
				 uint64_t iova)
{
	struct tree_entry entry;
	uint8_t *host = NULL;

	uvfio_rcu_read_lock();
	if (space_lookup(space, cache, iova >> PAGE_BITS, &entry))
		host = entry_host(&entry) + (iova - (entry.first << PAGE_BITS));
	uvfio_rcu_read_unlock();
	return host;
}

static double repeated(void *arg)
{
	struct set *set = arg;
	struct iommu_cache cache = {0};
	uint64_t start = bench_ns(), sum = 0;

	for (unsigned i = 0; i < LOOKUPS; i++)
		sum += (uintptr_t)translate(set->space, &cache, set->queries[0] ^ (i & 7));
	bench_keep(sum);
	return (double)(bench_ns() - start) / LOOKUPS;
}

static double random_one(void *arg)
{
	struct set *set = arg;
	uint64_t start = bench_ns(), missing = 0, sum = 0;

	for (unsigned i = 0; i < LOOKUPS; i++) {
		uint8_t *host = translate(set->space, NULL, set->queries[i]);

		missing += !host;
		sum += (uintptr_t)host;
	}
	bench_keep(sum);
	if (missing)
		die("a lookup");
	return (double)(bench_ns() - start) / LOOKUPS;
}

/* ---- two threads at a time ---- */

struct pair {
	struct set *set[2]; /* what each looks in */
	pthread_barrier_t start;
};

struct looker {
	struct pair *pair;
	unsigned nr;
	double ns; /* a lookup */
};

static void *look(void *arg)
{
	struct looker *looker = arg;

	random_one(looker->pair->set[looker->nr]); /* what is cold, and what starts a thread */
	pthread_barrier_wait(&looker->pair->start);
	looker->ns = random_one(looker->pair->set[looker->nr]);
	return NULL;
}

/* Million lookups a second of both together. */
static double by_two(void *arg)
{
	struct pair *pair = arg;
	struct looker lookers[2] = {{pair, 0, 0}, {pair, 1, 0}};
	pthread_t thread;

	if (pthread_barrier_init(&pair->start, NULL, 2) ||
	    pthread_create(&thread, NULL, look, &lookers[0]))
		die("a thread");
	look(&lookers[1]);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&pair->start);
	return 1000 / lookers[0].ns + 1000 / lookers[1].ns;
}

static double one_after_the_other(void *arg)
{
	struct set *set = arg;
	uint64_t start = bench_ns(), v = 0;

	for (unsigned i = 0; i < LOOKUPS / 4; i++) /* v is 0, but only the lookup knows */
		v = !translate(set->space, NULL, set->queries[i + v]);
	bench_keep(v);
	return (double)(bench_ns() - start) / (LOOKUPS / 4);
}

static double reference(struct set *set, struct iommu_cache *cache, bool same)
{
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < LOOKUPS; i++) {
		struct tree_entry entry;
		unsigned phase;

		uvfio_rcu_read_lock();
		if (!space_lookup(set->space, cache, set->queries[same ? 0 : i] >> PAGE_BITS,
				  &entry) ||
		    !mapping_get(entry_mapping(set->space, &entry), &phase))
			die("a reference");
		uvfio_rcu_read_unlock();
		mapping_put(entry_mapping(set->space, &entry), phase);
	}
	return (double)(bench_ns() - start) / LOOKUPS;
}

static double reference_repeated(void *arg)
{
	struct iommu_cache cache = {0};

	return reference(arg, &cache, true);
}

static double reference_random(void *arg)
{
	return reference(arg, NULL, false);
}

static double map_unmap(void *arg)
{
	struct set *set = arg;
	uint64_t start = bench_ns(), count;
	unsigned n = 100000;

	/* One of those mapped goes and comes back: the tree is touched all over. */
	for (unsigned i = 0; i < n; i++) {
		uint64_t iova = set->queries[i] & ~(IOMMU_PAGE_SIZE - 1);

		if (set->nr == 1)
			iova = set->spare;
		else if (iommu_unmap(set->space, iova, iova + IOMMU_PAGE_SIZE - 1, &count) !=
			 IOMMU_PAGE_SIZE)
			die("iommu_unmap");
		if (map_page(set, iova, i))
			die("iommu_map");
		if (set->nr == 1)
			iommu_unmap(set->space, iova, iova + IOMMU_PAGE_SIZE - 1, &count);
	}
	return (double)(bench_ns() - start) / n;
}

static double unmap_all(void *arg)
{
	struct set *set = arg;
	uint64_t start = bench_ns(), count;
	double ms;

	iommu_unmap(set->space, 0, UINT64_MAX, &count);
	ms = (double)(bench_ns() - start) / 1e6;
	if (count != set->nr)
		die("unmapping all");
	fill(set);
	return ms;
}

static double bytes(void *arg)
{
	struct set *set = arg;

	return (double)space_bytes(set->space) / set->nr;
}

static double miss(void *arg)
{
	return bench_cache_miss(64 << 20);
}

int main(void)
{
	static struct set one, thousand, another, million, dense, gone;
	static struct pair apart = {{&thousand, &another}}, together = {{&thousand, &thousand}};
	struct bench_case ratio = {
		"  the same one / apart, in hundredths", "", NULL, NULL, BENCH_AT_LEAST, 90};
	struct bench_case cases[] = {
		{"one cache miss of this machine (64 MiB, each waits)", "ns", miss},
		{"translate, the same mapping", "ns", repeated, &one, BENCH_AT_MOST, 5},
		{"translate, random of 1,000", "ns", random_one, &thousand, BENCH_AT_MOST, 15},
		{"translate, random of 1,000,000", "ns", random_one, &million, BENCH_AT_MOST, 60},
		{"  the same within 4 TiB", "ns", random_one, &dense},
		{"  one after the other", "ns", one_after_the_other, &million},
		{"and take a reference, the same mapping", "ns", reference_repeated, &one},
		{"and take a reference, random of 1,000,000", "ns", reference_random, &million},
		{"by 2 threads, random of 1,000 each of its own", "M/s", by_two, &apart},
		{"by 2 threads, random of the same 1,000", "M/s", by_two, &together},
		{"map + unmap beside 1", "ns", map_unmap, &one, BENCH_AT_MOST, 1000},
		{"map + unmap among 1,000", "ns", map_unmap, &thousand, BENCH_AT_MOST, 1000},
		{"map + unmap among 1,000,000", "ns", map_unmap, &million, BENCH_AT_MOST, 1000},
		{"unmap all of 1,000,000", "ms", unmap_all, &gone, BENCH_AT_MOST, 200},
		{"structures per mapping, 1,000,000", "bytes", bytes, &million, BENCH_AT_MOST,
		 IOMMU_BYTES_PER_MAPPING},
	};
	int missed;

	make(&one, 1, 1);
	make(&thousand, 1000, 1ull << 36);
	make(&another, 1000, 1ull << 36);
	make(&million, MILLION, 1ull << 36);
	make(&dense, MILLION, 1ull << 30);
	make(&gone, MILLION, 1ull << 36);
	missed = bench_run("Address translation", cases, sizeof(cases) / sizeof(*cases), 7);
	for (unsigned i = 1; i < sizeof(cases) / sizeof(*cases); i++)
		if (cases[i].arg == &together)
			ratio.median = 100 * cases[i].median / cases[i - 1].median;
	missed += bench_print(&ratio);
	return missed != 0;
}
