/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PF gives vectors to a VF and takes them while the device raises them, its user sets and unsets
 * eventfds and writes the table, and the VF is reset (B).  Made for ThreadSanitizer, too.
 */
#include <sched.h>

#include "base/rcu.h"
#include "vectors_owner.h"

#if defined(__SANITIZE_THREAD__)
#define ROUNDS 25u
#else
#define ROUNDS 80u
#endif

struct storm {
	struct owner u;
	atomic_bool stop;
	_Atomic uint64_t raises, requests, refused, resets, stores;
};

static void *raises(void *arg)
{
	struct storm *s = arg;
	uint32_t seed = 1;

	while (!atomic_load(&s->stop)) {
		seed = seed * 1664525 + 1013904223;
		uvfio_irq_raise((struct uvfio_device *)s->u.p.vf[0], (seed >> 16) % TABLE);
		atomic_fetch_add(&s->raises, 1);
	}
	return NULL;
}

static void *requests(void *arg)
{
	struct vfio_irq_set off = {.argsz = sizeof(off),
				   .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				   .index = VFIO_PCI_MSIX_IRQ_INDEX};
	struct storm *s = arg;
	uint32_t seed = 2;

	while (!atomic_load(&s->stop)) {
		unsigned first;
		int ret;

		seed = seed * 1664525 + 1013904223;
		first = (seed >> 16) % TABLE;
		if (!(seed >> 29))
			ret = dev_ioctl(&s->u.p.f, VFIO_DEVICE_SET_IRQS, &off);
		else
			ret = set_eventfds(&s->u, first, 1 + (seed >> 8) % (TABLE - first));
		assert_true(!ret || ret == -EINVAL);
		atomic_fetch_add(ret ? &s->refused : &s->requests, 1);
	}
	return NULL;
}

static void *resets(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		assert_int_equal(vfio_device_host_reset(s->u.p.vf[0]), 0);
		atomic_fetch_add(&s->resets, 1);
	}
	return NULL;
}

/* A guest that writes its table all the time, by a mapping and by the region. */
static void *stores(void *arg)
{
	struct storm *s = arg;
	struct vfio_device_file *df = s->u.p.f.df;
	uint32_t seed = 3;

	while (!atomic_load(&s->stop)) {
		uint64_t offset = VFIO_REGION_OFFSET(0) + VF_TABLE;
		uint32_t value;

		seed = seed * 1664525 + 1013904223;
		offset += (seed >> 8) % (TABLE * 4) * 4;
		value = seed >> 24;
		assert_int_equal(vfio_device_store(df, offset, 4, value), 0);
		assert_int_equal(vfio_device_write(df, offset, &value, 4), 4);
		atomic_fetch_add(&s->stores, 1);
	}
	return NULL;
}

static void some(_Atomic uint64_t *counter)
{
	uint64_t until = atomic_load(counter) + 20;

	while (atomic_load(counter) < until)
		sched_yield();
}

static uint64_t waiting(int fd)
{
	uint64_t value;

	return read(fd, &value, sizeof(value)) < 0 ? 0 : value;
}

static void test_everything(void **state)
{
	static struct storm s;
	void *(*const threads[])(void *) = {raises, requests, resets, stores};
	pthread_t ids[ARRAY_SIZE(threads)];
	uint32_t seed = 4;

	start(&s.u, 64);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&ids[i], NULL, threads[i], &s);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned n;

		seed = seed * 1664525 + 1013904223;
		n = (seed >> 16) % (TABLE + 1);
		assert_int_equal(give(&s.u.p, 0, n), 0);
		assert_int_equal(has(&s.u.p, 0), n);
		uvfio_rcu_synchronize(); /* raises that had begun have ended */
		for (unsigned i = n; i < TABLE; i++)
			waiting(s.u.efd[i]);
		some(&s.raises);
		for (unsigned i = n; i < TABLE; i++)
			assert_int_equal(waiting(s.u.efd[i]), 0);
		assert_int_equal(irq_msix_table_read(s.u.p.vf[0]->irqs, n * 16), 0);
	}
	some(&s.requests);
	some(&s.resets);
	some(&s.stores);
	assert_int_equal(give(&s.u.p, 0, 1), 0);
	some(&s.refused);
	atomic_store(&s.stop, true);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(ids[i], NULL);
	/* When all is over the page shows what there is. */
	for (unsigned off = ENTRY(1); off < VF_PBA; off += 4) {
		assert_int_equal(shadow_load(&s.u.p.vf[0]->bars[0], off, 4), 0);
	}
	leave(&s.u);
	pick(&s.u, s.u.p.vf[0]);
	assert_int_equal(set_eventfds(&s.u, 0, 1), 0);
	for (unsigned i = 0; i < TABLE; i++)
		waiting(s.u.efd[i]);
	assert_int_equal(raised(&s.u, 0), 1);
	assert_nothing(&s.u, 1);
	stop(&s.u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything),
	};

	guarded_init();
	return cmocka_run_group_tests_name("vectors_race", tests, NULL, NULL);
}
