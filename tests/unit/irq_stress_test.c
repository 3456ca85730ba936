/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Raises from several threads against everything that changes what is deliverable (A.8): no
 * interrupt is lost or doubled, and no eventfd is written after SET_IRQS took it away.  Made for
 * ThreadSanitizer, too.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <uvfio/device.h>

#include "base/rcu.h"
#include "irq_util.h"

#define VECTORS 64u

#if defined(__SANITIZE_THREAD__)
#define ROUNDS 3000u
#else
#define ROUNDS 20000u
#endif

struct fixture {
	struct device dev;
	struct uvfio_loop *loop;
	struct uvfio_ctx *ctx;
	struct irq_set *set;
	int efd[VECTORS];
};

static void start(struct fixture *f)
{
	struct uvfio_error err;

	memset(f, 0, sizeof(*f));
	f->dev = (struct device){.counts = {1, 32, VECTORS}, .pcie = true, .d0 = true};
	f->loop = uvfio_loop_new("test", &err);
	f->ctx = uvfio_ctx_new(f->loop);
	f->set = irq_set_new(&dev_ops, &f->dev, f->ctx, VECTORS, true);
	assert_non_null(f->set);
	irq_set_gate(f->set, true);
	for (unsigned i = 0; i < VECTORS; i++)
		f->efd[i] = make_eventfd();
}

static void stop(struct fixture *f)
{
	irq_set_free(f->set);
	uvfio_ctx_free(f->ctx);
	uvfio_loop_free(f->loop);
	for (unsigned i = 0; i < VECTORS; i++)
		close(f->efd[i]);
}

/* ---- one raise against one change ---- */

enum change { GATE, TABLE, EVENTFD_SET, EVENTFD_SWAP, MSI_MASK, MSI_ENABLE, CHANGES };

struct duel {
	struct fixture f;
	atomic_uint round, done; /* the raiser's turn, and its answer */
	uint32_t seed;
};

/* Both sides begin at a different moment each time. */
static void dither(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	for (volatile unsigned i = *seed >> 24; i > 0; i--)
		;
}

static void *raiser(void *arg)
{
	struct duel *d = arg;
	uint32_t seed = 99;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		while (atomic_load(&d->round) < round)
			sched_yield();
		dither(&seed);
		irq_raise(d->f.set, 3);
		atomic_store(&d->done, round);
	}
	return NULL;
}

static void hold_back(struct duel *d, enum change change)
{
	struct irq_set *set = d->f.set;

	switch (change) {
	case GATE:
		irq_set_gate(set, false);
		break;
	case TABLE:
		irq_msix_table_write(set, 3 * 16 + 12, 1);
		break;
	case EVENTFD_SET:
		assert_int_equal(set_fd(set, MSIX, 3, -1), 0);
		break;
	case EVENTFD_SWAP:
		assert_int_equal(set_fd(set, MSIX, 3, d->f.efd[4]), 0);
		break;
	case MSI_MASK:
		irq_msi_config(set, true, 1 << 3);
		break;
	default:
		irq_msi_config(set, false, 0);
	}
}

static void let_go(struct duel *d, enum change change)
{
	struct irq_set *set = d->f.set;

	switch (change) {
	case GATE:
		irq_set_gate(set, true);
		break;
	case TABLE:
		irq_msix_table_write(set, 3 * 16 + 12, 0);
		break;
	case EVENTFD_SET:
	case EVENTFD_SWAP:
		assert_int_equal(set_fd(set, MSIX, 3, d->f.efd[3]), 0);
		break;
	default:
		irq_msi_config(set, true, 0);
	}
}

/* A raise that comes at any moment of hold back … let go is delivered once. */
static void test_nothing_lost(void **state)
{
	for (enum change change = GATE; change < CHANGES; change++) {
		unsigned index = change >= MSI_MASK ? MSI : MSIX;
		struct duel d = {.seed = 7};
		pthread_t thread;

		start(&d.f);
		assert_int_equal(request(d.f.set, index, 0, 8, EVENTFD | TRIGGER, d.f.efd), 0);
		pthread_create(&thread, NULL, raiser, &d);
		for (unsigned round = 1; round <= ROUNDS; round++) {
			uint64_t got;

			if (round & 1)
				hold_back(&d, change);
			atomic_store(&d.round, round);
			dither(&d.seed);
			if (!(round & 1))
				hold_back(&d, change);
			let_go(&d, change);
			while (atomic_load(&d.done) < round)
				sched_yield();
			got = taken(d.f.efd[3]) + taken(d.f.efd[4]);
			if (got != 1)
				fail_msg("change %d, round %u: %lu", change, round,
					 (unsigned long)got);
		}
		pthread_join(thread, NULL);
		assert_int_equal(irq_msix_pba_read(d.f.set, 0), 0);
		assert_int_equal(irq_msi_pending(d.f.set), 0);
		stop(&d.f);
	}
}

/* INTx: each assertion is seen once the mask is gone, however MASK, UNMASK, DisINTx and the line
 * interleave. */
static void *asserter(void *arg)
{
	struct duel *d = arg;
	uint32_t seed = 5;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		while (atomic_load(&d->round) < round)
			sched_yield();
		dither(&seed);
		irq_intx_level(d->f.set, true);
		atomic_store(&d->done, round);
	}
	return NULL;
}

static void test_intx_nothing_lost(void **state)
{
	struct duel d = {.seed = 3};
	pthread_t thread;

	start(&d.f);
	assert_int_equal(set_fd(d.f.set, INTX, 0, d.f.efd[0]), 0);
	pthread_create(&thread, NULL, asserter, &d);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		uint64_t got;

		atomic_store(&d.round, round);
		dither(&d.seed);
		if (round % 2) {
			irq_intx_disable(d.f.set, true);
			irq_intx_disable(d.f.set, false);
		} else {
			request(d.f.set, INTX, 0, 1, NONE | MASK, NULL);
			request(d.f.set, INTX, 0, 1, NONE | UNMASK, NULL);
		}
		while (atomic_load(&d.done) < round)
			sched_yield();
		/* Once, or twice when it was unmasked after it had fired. */
		got = taken(d.f.efd[0]);
		if (got != 1 && got != 2)
			fail_msg("round %u: %lu", round, (unsigned long)got);
		irq_intx_level(d.f.set, false);
		request(d.f.set, INTX, 0, 1, NONE | UNMASK, NULL);
		assert_int_equal(taken(d.f.efd[0]), 0);
	}
	pthread_join(thread, NULL);
	stop(&d.f);
}

/* ---- a storm ---- */

struct storm {
	struct fixture f;
	atomic_bool stop;
	_Atomic uint64_t raises;
};

static void *storm_raiser(void *arg)
{
	struct storm *s = arg;
	uint32_t seed = (uint32_t)(uintptr_t)pthread_self() | 1;
	uint64_t n = 0;

	while (!atomic_load(&s->stop)) {
		seed = seed * 1664525 + 1013904223;
		irq_raise(s->f.set, (seed >> 16) % (VECTORS + 2));
		if (!(seed >> 28))
			irq_intx_level(s->f.set, seed >> 27 & 1);
		if (!(++n % 64))
			irq_signal_err(s->f.set);
	}
	atomic_fetch_add(&s->raises, n);
	return NULL;
}

/* Bus mastering, masks and resets come and go. */
static void *storm_device(void *arg)
{
	struct storm *s = arg;
	uint32_t seed = 77;

	while (!atomic_load(&s->stop)) {
		seed = seed * 1664525 + 1013904223;
		switch (seed >> 29) {
		case 0:
			irq_set_gate(s->f.set, false);
			break;
		case 1:
			irq_msi_config(s->f.set, seed & 1 << 20, seed >> 8);
			break;
		case 2:
			irq_reset(s->f.set);
			break;
		case 3:
			irq_msix_table_write(s->f.set, (seed >> 10) % (VECTORS * 16) & ~3u,
					     seed >> 8 & 1);
			break;
		case 4:
			irq_intx_disable(s->f.set, seed & 1 << 20);
			break;
		default:
			irq_set_gate(s->f.set, true);
		}
		sched_yield();
	}
	return NULL;
}

static void test_storm(void **state)
{
	static struct storm s;
	pthread_t threads[3];
	int32_t fds[VECTORS];
	uint32_t seed = 1;
	int32_t unmask;

	start(&s.f);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, storm_raiser, &s);
	pthread_create(&threads[2], NULL, storm_device, &s);
	for (unsigned round = 0; round < ROUNDS / 8; round++) {
		unsigned index, first, count;

		seed = seed * 1664525 + 1013904223;
		index = seed >> 16 & 1 ? MSIX : MSI;
		first = (seed >> 20) % 16;
		count = 1 + (seed >> 24) % 16;
		for (unsigned i = 0; i < count; i++)
			fds[i] = (seed >> i & 7) ? s.f.efd[(first + i + round) % VECTORS] : -1;
		switch (seed >> 28) {
		case 0:
			request(s.f.set, index, 0, 0, NONE | TRIGGER, NULL);
			break;
		case 1:
			request(s.f.set, INTX, 0, 0, NONE | TRIGGER, NULL);
			break;
		case 2:
			set_fd(s.f.set, INTX, 0, s.f.efd[first]);
			unmask = s.f.efd[first + 16];
			request(s.f.set, INTX, 0, 1, EVENTFD | UNMASK, &unmask);
			break;
		case 3:
			set_fd(s.f.set, ERR, 0, seed & 1 << 21 ? s.f.efd[first] : -1);
			break;
		case 4:
			request(s.f.set, index, first, count, NONE | TRIGGER, NULL);
			break;
		case 5:
			irq_disable_all(s.f.set);
			break;
		default:
			request(s.f.set, index, first, count, EVENTFD | TRIGGER, fds);
		}
		if (round % 64)
			continue;
		/* Everything off: from the moment that it returns nothing is written any more. */
		irq_disable_all(s.f.set);
		for (unsigned i = 0; i < VECTORS; i++)
			taken(s.f.efd[i]);
		sched_yield();
		for (unsigned i = 0; i < VECTORS; i++)
			assert_int_equal(taken(s.f.efd[i]), 0);
	}
	atomic_store(&s.stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&s.raises) > 1000);
	stop(&s.f);
}

/* ---- closing many ---- */

#define MANY 600u

struct many {
	struct data data; /* for copy_data() */
	int canary, canaries[8 * MANY];
	unsigned nr_canaries, taken;
};

/* Numbers that go up, go down, and have somebody else's between them. */
static int take_scattered(void *client, int32_t fd)
{
	struct many *m = client;
	unsigned n = m->taken++;

	if (n % 7 == 3)
		m->canaries[m->nr_canaries++] = fcntl(m->canary, F_DUPFD_CLOEXEC, 0);
	return fcntl(fd, F_DUPFD_CLOEXEC, n % MANY > 400 ? 3000 - (int)(n % MANY) : 0);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 8000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Thousands of eventfds are replaced: all of them are closed, and nothing else is. */
static void test_many_closed(void **state)
{
	struct rlimit limit = {8192, 8192}, before;
	struct device dev = {.counts = {1, 32, MANY}, .pcie = true, .d0 = true};
	struct many *m = calloc(1, sizeof(*m));
	int32_t fds[MANY];
	struct vfio_irq_set hdr = {
		.argsz = (uint32_t)(20 + sizeof(fds)),
		.flags = EVENTFD | TRIGGER,
		.index = MSIX,
		.count = MANY,
	};
	struct uvfio_error err;
	struct uvfio_loop *loop;
	struct uvfio_ctx *ctx;
	struct irq_set *set;
	unsigned open;
	int ends[2];

	getrlimit(RLIMIT_NOFILE, &before);
	limit.rlim_max = before.rlim_max;
	if (limit.rlim_max < limit.rlim_cur || setrlimit(RLIMIT_NOFILE, &limit))
		skip();
	loop = uvfio_loop_new("test", &err);
	ctx = uvfio_ctx_new(loop);
	set = irq_set_new(&dev_ops, &dev, ctx, MANY, true);
	assert_int_equal(pipe(ends), 0);
	m->canary = ends[0];
	for (unsigned i = 0; i < MANY; i++)
		fds[i] = i ? fds[0] : make_eventfd();
	m->data = (struct data){fds, sizeof(fds), 0};
	irq_set_gate(set, true);
	uvfio_rcu_synchronize(); /* whatever it opens is open */
	open = open_fds();
	for (unsigned round = 0; round < 6; round++)
		assert_int_equal(irq_set_irqs(set, &hdr, copy_data, take_scattered, m), 0);
	assert_int_equal(m->taken, 6 * MANY);
	irq_raise(set, MANY - 1);
	assert_int_equal(taken(fds[0]), 1);
	irq_disable_all(set);
	for (unsigned i = 0; i < m->nr_canaries; i++) {
		char c = 0;

		assert_int_equal(write(ends[1], "c", 1), 1);
		assert_int_equal(read(m->canaries[i], &c, 1), 1);
		close(m->canaries[i]);
	}
	assert_int_equal(open_fds(), open);
	/* Again, and ended by whoever frees it. */
	for (unsigned round = 0; round < 3; round++)
		assert_int_equal(irq_set_irqs(set, &hdr, copy_data, take_scattered, m), 0);
	irq_set_free(set);
	uvfio_ctx_free(ctx);
	uvfio_loop_free(loop);
	close(ends[0]);
	close(ends[1]);
	close(fds[0]);
	setrlimit(RLIMIT_NOFILE, &before);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_lost),
		cmocka_unit_test(test_intx_nothing_lost),
		cmocka_unit_test(test_storm),
		cmocka_unit_test(test_many_closed),
	};

	return cmocka_run_group_tests_name("irq_stress", tests, NULL, NULL);
}
