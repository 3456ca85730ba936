/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X vectors that come and go while a client uses them (B): what is beyond the count does not
 * exist, whatever was done with it before, and what is new has nothing of what was there.
 */
#include <pthread.h>
#include <sched.h>

#include "base/rcu.h"
#include "irq_fixture.h"

#define VECTORS 64u
#define CONTROL 12u

static unsigned count(struct fixture *f)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = MSIX};

	assert_int_equal(irq_get_info(f->set, &info), 0);
	return info.count;
}

static void enable_all(struct fixture *f)
{
	assert_int_equal(request(f->set, MSIX, 0, VECTORS, EVENTFD | TRIGGER, f->efd), 0);
}

static bool entry_is(struct fixture *f, unsigned vector, uint32_t address, uint32_t data,
		     uint32_t control)
{
	return irq_msix_table_read(f->set, vector * 16) == address &&
	       irq_msix_table_read(f->set, vector * 16 + 4) == 0 &&
	       irq_msix_table_read(f->set, vector * 16 + 8) == data &&
	       irq_msix_table_read(f->set, vector * 16 + CONTROL) == control;
}

/* Vectors that were enabled are dead at once; the others do not notice. */
static void test_shrink(void **state)
{
	struct irq_vector_state seen[VECTORS];
	struct irq_state sum;
	unsigned vectors;
	struct fixture f;

	start(&f, true);
	enable_all(&f);
	irq_msix_resize(f.set, 10);
	assert_int_equal(count(&f), 10);
	assert_int_equal(irq_active(f.set, &vectors), MSIX);
	assert_int_equal(vectors, 10);
	for (unsigned i = 0; i < VECTORS; i++) {
		irq_raise(f.set, i);
		assert_int_equal(taken(f.efd[i]), i < 10);
		assert_true(i < 10 ? entry_is(&f, i, 0xfee00000, i, 0) : entry_is(&f, i, 0, 0, 0));
	}
	assert_int_equal(irq_dropped(f.set), VECTORS - 10);
	/* Nor are they, when they are masked or the gate is shut, remembered. */
	irq_set_gate(f.set, false);
	for (unsigned i = 0; i < VECTORS; i++)
		irq_raise(f.set, i);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 0x3ff);
	irq_set_gate(f.set, true);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_int_equal(taken(f.efd[i]), i < 10);
	assert_int_equal(irq_observe_vectors(f.set, MSIX, 0, seen, VECTORS), 10);
	irq_observe(f.set, MSIX, &sum);
	assert_int_equal(sum.count, 10);
	assert_int_equal(sum.vectors, 10);
	assert_int_equal(sum.delivered, 20);
	stop(&f);
}

/* What was pending for a vector goes with it. */
static void test_pending_goes(void **state)
{
	struct fixture f;

	start(&f, true);
	enable_all(&f);
	irq_set_gate(f.set, false);
	for (unsigned i = 0; i < VECTORS; i++)
		irq_raise(f.set, i);
	assert_true(irq_msix_pba_read(f.set, 0) == UINT64_MAX);
	irq_msix_resize(f.set, 63);
	assert_true(irq_msix_pba_read(f.set, 0) == UINT64_MAX >> 1);
	irq_msix_resize(f.set, 3);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 7);
	irq_msix_resize(f.set, 64);
	assert_int_equal(irq_msix_pba_read(f.set, 0), 7);
	irq_set_gate(f.set, true);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_int_equal(taken(f.efd[i]), i < 3);
	stop(&f);
}

/* A client writes where nothing is, before, meanwhile and after. */
static void test_table(void **state)
{
	struct fixture f;

	start(&f, true);
	enable_all(&f);
	for (unsigned off = 0; off < VECTORS * 16; off += 4)
		irq_msix_table_write(f.set, off, UINT32_MAX);
	irq_msix_resize(f.set, 8);
	for (unsigned off = 0; off < VECTORS * 16; off += 4)
		irq_msix_table_write(f.set, off, off % 16 == CONTROL ? 0 : 0x55555555);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_true(i < 8 || entry_is(&f, i, 0, 0, 0));
	assert_int_equal(irq_msix_table_read(f.set, 7 * 16 + 8), 0x55555555);
	for (unsigned i = 0; i < VECTORS; i++) {
		irq_raise(f.set, i);
		assert_int_equal(taken(f.efd[i]), i < 8);
	}
	assert_int_equal(irq_msix_pba_read(f.set, 0), 0);
	irq_msix_resize(f.set, VECTORS);
	for (unsigned i = 8; i < VECTORS; i++) {
		assert_true(entry_is(&f, i, 0, 0, 1));
		irq_msix_table_write(f.set, i * 16 + CONTROL, 0);
		assert_int_equal(taken(f.efd[i]), 0);
	}
	stop(&f);
}

/* Vectors that come back are new: no eventfd, not allocated, nothing pending. */
static void test_grow(void **state)
{
	struct fixture f;
	unsigned vectors;

	start(&f, false);
	enable_all(&f);
	irq_msix_resize(f.set, 0);
	irq_msix_resize(f.set, VECTORS);
	assert_int_equal(count(&f), VECTORS);
	assert_int_equal(irq_active(f.set, &vectors), MSIX);
	assert_int_equal(vectors, 0);
	for (unsigned i = 0; i < VECTORS; i++) {
		irq_raise(f.set, i);
		assert_int_equal(taken(f.efd[i]), 0);
	}
	assert_true(irq_msix_pba_read(f.set, 0) == UINT64_MAX);
	/* Without dynamic allocation they are had by enabling anew. */
	assert_int_equal(set_fd(f.set, MSIX, 5, f.efd[5]), -EINVAL);
	assert_int_equal(request(f.set, MSIX, 0, 0, NONE | TRIGGER, NULL), 0);
	enable_all(&f);
	irq_raise(f.set, 5);
	assert_int_equal(taken(f.efd[5]), 1);
	stop(&f);

	start(&f, true);
	enable_all(&f);
	irq_msix_resize(f.set, 4);
	irq_msix_resize(f.set, 6);
	irq_raise(f.set, 5);
	assert_int_equal(taken(f.efd[5]), 0);
	assert_int_equal(set_fd(f.set, MSIX, 5, f.efd[5]), 0);
	assert_int_equal(taken(f.efd[5]), 1); /* it was pending: the vector was there */
	/* More than the table has entries there never are. */
	irq_msix_resize(f.set, 5000);
	assert_int_equal(count(&f), VECTORS);
	stop(&f);
}

/* SET_IRQS does not know them (A.8, 2). */
static void test_requests(void **state)
{
	uint8_t bools[VECTORS];
	struct fixture f;

	memset(bools, 1, sizeof(bools));
	start(&f, true);
	enable_all(&f);
	irq_msix_resize(f.set, 16);
	assert_int_equal(set_fd(f.set, MSIX, 15, f.efd[15]), 0);
	assert_int_equal(set_fd(f.set, MSIX, 16, f.efd[16]), -EINVAL);
	assert_int_equal(set_fd(f.set, MSIX, 16, -1), -EINVAL);
	assert_int_equal(request(f.set, MSIX, 0, 17, EVENTFD | TRIGGER, f.efd), -EINVAL);
	assert_int_equal(request(f.set, MSIX, 15, 2, BOOL | TRIGGER, bools), -EINVAL);
	assert_int_equal(request(f.set, MSIX, 0, 16, BOOL | TRIGGER, bools), 0);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_int_equal(taken(f.efd[i]), i < 16);
	assert_int_equal(request(f.set, MSIX, 0, 0, NONE | TRIGGER, NULL), 0);
	assert_int_equal(request(f.set, MSIX, 0, 17, EVENTFD | TRIGGER, f.efd), -EINVAL);
	assert_int_equal(request(f.set, MSIX, 0, 16, EVENTFD | TRIGGER, f.efd), 0);
	/* With none, not even a disable request is right; the last close ends it. */
	irq_msix_resize(f.set, 0);
	assert_int_equal(count(&f), 0);
	assert_int_equal(request(f.set, MSIX, 0, 0, NONE | TRIGGER, NULL), -EINVAL);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), -EINVAL);
	irq_disable_all(f.set);
	assert_int_equal(set_fd(f.set, INTX, 0, f.efd[0]), 0);
	stop(&f);
}

/* The eventfds of vectors that have gone are closed with the next request, or the set. */
static void test_eventfds_closed(void **state)
{
	unsigned outside, before;
	struct fixture f;

	uvfio_rcu_synchronize(); /* whatever it opens is open */
	outside = open_fds();
	start(&f, true);
	before = open_fds();
	enable_all(&f);
	irq_msix_resize(f.set, 30); /* so few go at once that a thread need not close them */
	assert_int_equal(set_fd(f.set, MSIX, 0, f.efd[0]), 0);
	assert_int_equal(open_fds(), before + 30);
	irq_msix_resize(f.set, 0);
	irq_disable_all(f.set);
	assert_int_equal(open_fds(), before);
	irq_msix_resize(f.set, VECTORS);
	enable_all(&f);
	irq_msix_resize(f.set, 0);
	stop(&f);
	assert_int_equal(open_fds(), outside);
}

/* MSI does not care. */
static void test_msi(void **state)
{
	struct fixture f;

	start(&f, true);
	assert_int_equal(request(f.set, MSI, 0, 8, EVENTFD | TRIGGER, f.efd), 0);
	irq_msix_resize(f.set, 0);
	irq_raise(f.set, 7);
	assert_int_equal(taken(f.efd[7]), 1);
	irq_set_gate(f.set, false);
	irq_raise(f.set, 7);
	assert_int_equal(irq_msi_pending(f.set), 0x80);
	irq_set_gate(f.set, true);
	assert_int_equal(taken(f.efd[7]), 1);
	stop(&f);
}

/* ---- random changes against a model ---- */

struct model {
	unsigned n;
	bool active, gate;
	bool allocated[VECTORS], fd[VECTORS], masked[VECTORS], pending[VECTORS];
	unsigned fired[VECTORS];
};

static void model_flush(struct model *m)
{
	for (unsigned i = 0; i < m->n && m->active && m->gate; i++) {
		if (m->pending[i] && m->fd[i] && !m->masked[i]) {
			m->fired[i]++;
			m->pending[i] = false;
		}
	}
}

static void model_resize(struct model *m, unsigned n)
{
	unsigned from = n < m->n ? n : m->n;

	for (unsigned i = from; i < VECTORS; i++)
		m->allocated[i] = m->fd[i] = m->masked[i] = m->pending[i] = false;
	m->n = n;
}

static void model_set(struct model *m, struct fixture *f, unsigned vector, bool on)
{
	int32_t fd = on ? f->efd[vector] : -1;
	int ret = set_fd(f->set, MSIX, vector, fd);

	if (vector >= m->n) {
		assert_int_equal(ret, -EINVAL);
		return;
	}
	assert_int_equal(ret, 0);
	for (unsigned i = 0; i <= vector && !m->active; i++)
		m->allocated[i] = true;
	m->active = true;
	m->fd[vector] = on;
	m->allocated[vector] |= on;
	if (m->allocated[vector])
		m->masked[vector] = false;
}

static void model_disable(struct model *m, struct fixture *f)
{
	int ret = request(f->set, MSIX, 0, 0, NONE | TRIGGER, NULL);

	assert_int_equal(ret, m->active && m->n ? 0 : -EINVAL);
	if (ret)
		return;
	m->active = false;
	for (unsigned i = 0; i < VECTORS; i++) {
		if (m->allocated[i])
			m->masked[i] = false;
		m->allocated[i] = m->fd[i] = m->pending[i] = false;
	}
}

static void model_mask(struct model *m, struct fixture *f, unsigned vector, bool on)
{
	irq_msix_table_write(f->set, vector * 16 + CONTROL, on);
	if (vector < m->n)
		m->masked[vector] = on;
}

static void model_raise(struct model *m, struct fixture *f, unsigned vector)
{
	irq_raise(f->set, vector);
	if (m->active && vector < m->n)
		m->pending[vector] = true;
}

static void check(struct model *m, struct fixture *f, unsigned step)
{
	uint64_t pending = 0;

	for (unsigned i = 0; i < VECTORS; i++) {
		unsigned got = (unsigned)taken(f->efd[i]);

		if (got != m->fired[i])
			fail_msg("step %u, vector %u of %u: fired %u, not %u", step, i, m->n, got,
				 m->fired[i]);
		m->fired[i] = 0;
		pending |= (uint64_t)m->pending[i] << i;
	}
	assert_true(irq_msix_pba_read(f->set, 0) == pending);
	assert_int_equal(irq_msix_vectors(f->set), m->n);
	assert_int_equal(count(f), m->n);
}

static void test_model(void **state)
{
	struct model m = {.n = VECTORS, .gate = true};
	uint32_t seed = 1;
	struct fixture f;

	start(&f, true);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned vector, what;

		seed = seed * 1664525 + 1013904223;
		vector = (seed >> 8) % VECTORS;
		what = (seed >> 16) % 32;
		if (what == 0) {
			model_resize(&m, vector + (seed >> 24 & 1));
			irq_msix_resize(f.set, m.n);
		} else if (what == 1) {
			model_disable(&m, &f);
		} else if (what == 2) {
			m.gate = seed >> 24 & 1;
			irq_set_gate(f.set, m.gate);
		} else if (what < 6) {
			model_mask(&m, &f, vector, seed >> 24 & 1);
		} else if (what < 14) {
			model_set(&m, &f, vector, seed >> 24 & 7);
		} else {
			model_raise(&m, &f, vector);
		}
		model_flush(&m);
		check(&m, &f, step);
	}
	stop(&f);
}

/* ---- everything at once ---- */

#if defined(__SANITIZE_THREAD__)
#define ROUNDS 200u
#else
#define ROUNDS 600u
#endif

struct storm {
	struct fixture f;
	atomic_bool stop;
	_Atomic uint64_t raises, requests, refused;
};

static void *raiser(void *arg)
{
	struct storm *s = arg;
	uint32_t seed = (uint32_t)(uintptr_t)pthread_self() | 1;

	while (!atomic_load(&s->stop)) {
		seed = seed * 1664525 + 1013904223;
		irq_raise(s->f.set, (seed >> 16) % VECTORS);
		atomic_fetch_add(&s->raises, 1);
	}
	return NULL;
}

/* The client, and resets: they think that all vectors are theirs. */
static void *client(void *arg)
{
	struct storm *s = arg;
	uint32_t seed = 99;

	while (!atomic_load(&s->stop)) {
		unsigned first, n;
		int ret = 0;

		seed = seed * 1664525 + 1013904223;
		first = (seed >> 16) % VECTORS;
		n = 1 + (seed >> 8) % (VECTORS - first);
		switch (seed >> 28) {
		case 0:
			request(s->f.set, MSIX, 0, 0, NONE | TRIGGER, NULL);
			break;
		case 1:
			irq_reset(s->f.set);
			break;
		case 2:
			irq_disable_all(s->f.set);
			break;
		case 3:
		case 4:
			irq_msix_table_write(s->f.set, first * 16 + CONTROL, seed >> 7 & 1);
			break;
		case 5:
			irq_set_gate(s->f.set, false);
			irq_set_gate(s->f.set, true);
			break;
		default:
			ret = request(s->f.set, MSIX, first, n, EVENTFD | TRIGGER,
				      s->f.efd + first);
			assert_true(!ret || ret == -EINVAL);
			atomic_fetch_add(ret ? &s->refused : &s->requests, 1);
		}
	}
	return NULL;
}

static void at_least(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t until = atomic_load(counter) + n;

	while (atomic_load(counter) < until)
		sched_yield();
}

static void check_gone(struct storm *s, unsigned n)
{
	uint64_t bits = irq_msix_pba_read(s->f.set, 0);

	assert_true(n == VECTORS || !(bits >> n));
	for (unsigned i = n; i < VECTORS; i++) {
		assert_int_equal(taken(s->f.efd[i]), 0);
		assert_true(entry_is(&s->f, i, 0, 0, 0));
	}
}

static void test_storm(void **state)
{
	static struct storm s;
	pthread_t threads[3];
	uint32_t seed = 5;

	start(&s.f, true);
	pthread_create(&threads[0], NULL, raiser, &s);
	pthread_create(&threads[1], NULL, raiser, &s);
	pthread_create(&threads[2], NULL, client, &s);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned n;

		seed = seed * 1664525 + 1013904223;
		n = (seed >> 16) % (VECTORS + 1);
		irq_msix_resize(s.f.set, n);
		assert_int_equal(irq_msix_vectors(s.f.set), n);
		/* Raises that had begun have ended. */
		uvfio_rcu_synchronize();
		for (unsigned i = n; i < VECTORS; i++)
			taken(s.f.efd[i]);
		at_least(&s.raises, 50);
		check_gone(&s, n);
		if (seed >> 28)
			continue;
		/* As new, once nobody is in the midst of something. */
		irq_msix_resize(s.f.set, 0);
		irq_msix_resize(s.f.set, VECTORS);
	}
	at_least(&s.requests, 10);
	irq_msix_resize(s.f.set, 1);
	at_least(&s.refused, 10);
	atomic_store(&s.stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	/* Settled: no eventfd is left beyond, nor found by vectors that come back. */
	irq_disable_all(s.f.set);
	irq_set_gate(s.f.set, true);
	irq_msix_resize(s.f.set, VECTORS);
	enable_all(&s.f);
	for (unsigned i = 0; i < VECTORS; i++)
		taken(s.f.efd[i]);
	for (unsigned i = 0; i < VECTORS; i++) {
		irq_raise(s.f.set, i);
		assert_int_equal(taken(s.f.efd[i]), 1);
	}
	stop(&s.f);
}

/* Vectors go and come back while a SET_IRQS is in their midst: each ends with an eventfd that
 * works, or without one. */
static void *flapper(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		irq_msix_resize(s->f.set, 2);
		irq_msix_resize(s->f.set, VECTORS);
		atomic_fetch_add(&s->requests, 1);
	}
	return NULL;
}

static void test_flapping(void **state)
{
	bool active = false, pending = false; /* of vector 0, which is always there */
	static struct storm s;
	pthread_t thread;

	start(&s.f, true);
	pthread_create(&thread, NULL, flapper, &s);
	for (unsigned round = 0; round < ROUNDS; round++) {
		int ret = request(s.f.set, MSIX, 0, VECTORS, EVENTFD | TRIGGER, s.f.efd);
		uint64_t got;

		assert_true(!ret || ret == -EINVAL);
		active |= !ret;
		irq_raise(s.f.set, 0);
		irq_raise(s.f.set, 40);
		assert_true(taken(s.f.efd[40]) <= 2);
		got = taken(s.f.efd[0]);
		if (!ret)
			assert_int_equal(got, 1 + pending);
		else
			assert_true(got <= active);
		pending = active && (ret ? pending || !got : false);
		if (round % 8)
			continue;
		irq_disable_all(s.f.set);
		active = pending = false;
		irq_raise(s.f.set, 40);
		assert_int_equal(taken(s.f.efd[40]), 0);
	}
	at_least(&s.requests, 10);
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	stop(&s.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shrink),   cmocka_unit_test(test_pending_goes),
		cmocka_unit_test(test_table),    cmocka_unit_test(test_grow),
		cmocka_unit_test(test_requests), cmocka_unit_test(test_eventfds_closed),
		cmocka_unit_test(test_msi),      cmocka_unit_test(test_model),
		cmocka_unit_test(test_storm),    cmocka_unit_test(test_flapping),
	};

	return cmocka_run_group_tests_name("irq_resize", tests, NULL, NULL);
}
