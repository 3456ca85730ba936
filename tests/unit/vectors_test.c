/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pool of vectors that VFs share (B): what each has at first, what may be given, in which order
 * mistakes are found; and that the sum never exceeds the pool, whoever changes it.
 */
#include "vectors_fixture.h"

/* ---- what is written ---- */

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		int ret;
		unsigned n;
	} rows[] = {
		{"0", 0, 0},
		{"12", 0, 12},
		{"12\n", 0, 12},
		{"0x1f", 0, 31},
		{"0X1F\n", 0, 31},
		{"017", 0, 15},
		{"00", 0, 0},
		{"+5", 0, 5},
		{"-0", 0, 0},
		{"2147483647", 0, 2147483647},
		{"0x7fffffff", 0, 2147483647},
		{"2147483648", -EINVAL, 0},
		{"99999999999999999999999", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"-12\n", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"\n", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1\n\n", -EINVAL, 0},
		{"0x", -EINVAL, 0},
		{"0b1", -EINVAL, 0},
		{"08", -EINVAL, 0},
		{"1f", -EINVAL, 0},
		{"+-1", -EINVAL, 0},
		{"--1", -EINVAL, 0},
		{"+", -EINVAL, 0},
		{"1.0", -EINVAL, 0},
		{"four", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned n = 77;
		int ret = vfio_parse_msix_count(rows[i].text, &n);

		if (ret != rows[i].ret || n != (ret ? 77 : rows[i].n))
			fail_msg("\"%s\": %d, %u", rows[i].text, ret, n);
	}
}

/* ---- what each VF has at first ---- */

static void test_first_share(void **state)
{
	static const struct {
		unsigned pool, min, max, vfs;
		int each; /* or -errno */
	} rows[] = {
		{64, 1, 32, 1, 16},    {64, 1, 32, 2, 16},       {64, 1, 32, 4, 16},
		{64, 1, 32, 5, 12},    {64, 1, 32, 16, 4},       {64, 4, 32, 16, 4},
		{64, 5, 32, 12, 5},    {64, 5, 32, 13, -ENOSPC}, {64, 5, 32, 16, -ENOSPC},
		{64, 20, 32, 3, 20},   {64, 20, 32, 4, -ENOSPC}, {64, 20, 32, 1, 20},
		{8, 0, 32, 16, 0},     {8, 0, 32, 8, 1},         {8, 0, 32, 7, 1},
		{1000, 0, 64, 16, 32}, {1000, 0, 0, 16, 32},     {1000, 0, 1, 3, 0},
		{1000, 1, 1, 3, 1},    {2, 2, 2, 1, 2},          {2, 2, 2, 2, -ENOSPC},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char spec[128];
		struct pool p;
		int ret;

		snprintf(spec, sizeof(spec), "pool,vfs=16,driver=pool,pool=%u,min=%u,max=%u",
			 rows[i].pool, rows[i].min, rows[i].max);
		pool_start(&p, spec);
		ret = pool_enable(&p, rows[i].vfs);
		if (ret != (rows[i].each < 0 ? rows[i].each : 0))
			fail_msg("%s, %u VFs: %d", spec, rows[i].vfs, ret);
		for (unsigned k = 0; k < p.n; k++)
			if (has(&p, k) != (unsigned)rows[i].each)
				fail_msg("%s, %u VFs: VF %u has %u", spec, rows[i].vfs, k,
					 has(&p, k));
		pool_stop(&p);
	}
}

static void test_description(void **state)
{
	static const struct {
		const char *spec;
		int ret;
	} rows[] = {
		{"pool,vfs=4,pool=8,min=1,max=4,table=4", 0},
		{"pool,vfs=4,pool=8,min=4,max=4,table=4", 0},
		{"pool,vfs=4,pool=4,min=4,max=4,table=8", 0},
		{"pool,vfs=4,pool=3,min=4,max=4,table=8", -EINVAL},
		{"pool,vfs=4,pool=8,min=5,max=4,table=8", -EINVAL},
		{"pool,vfs=4,pool=8,max=9,table=8", -EINVAL},
		{"pool,vfs=4,pool=8,min=9,table=8", -EINVAL},
		{"pool,vfs=4,pool=8,table=0", -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct uvfio_error err = {""};
		struct pool p;
		int ret = pool_try(&p, rows[i].spec, &err);

		if (ret != rows[i].ret)
			fail_msg("%s: %d, %s", rows[i].spec, ret, err.msg);
		assert_true(!ret || strstr(err.msg, "vectors"));
		pool_stop(&p);
	}
}

/* ---- who may give, and what ---- */

static void unbound(void *arg)
{
	sem_post(arg);
}

static void unbind(struct vfio_device *dev)
{
	sem_t gone;

	sem_init(&gone, 0, 0);
	assert_int_equal(vfio_device_unbind(dev, unbound, &gone), 0);
	while (sem_wait(&gone))
		;
	sem_destroy(&gone);
}

/* The PF and VF 1 of four with these drivers. */
static void give_to(struct pool *p, enum vfio_driver pf, enum vfio_driver vf)
{
	enum vfio_driver maker = pf == VFIO_DRIVER_NONE ? VFIO_DRIVER_STUB : pf;

	assert_int_equal(vfio_device_bind_to(p->pf, maker), 0);
	assert_int_equal(pool_enable(p, 4), 0);
	if (pf != maker)
		unbind(p->pf); /* it leaves them */
	if (vfio_device_driver(p->vf[1]) == vf)
		return;
	if (vfio_device_driver(p->vf[1]) != VFIO_DRIVER_NONE)
		unbind(p->vf[1]);
	if (vf != VFIO_DRIVER_NONE)
		assert_int_equal(vfio_device_bind_to(p->vf[1], vf), 0);
}

/* Each mistake with all that come later. */
static void test_order(void **state)
{
	static const struct {
		const char *spec;
		enum vfio_driver pf, vf;
		unsigned n;
		int ret, total;
	} rows[] = {
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_NONE, VFIO_DRIVER_VFIO, 1,
		 -EOPNOTSUPP, 0},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_VFIO, VFIO_DRIVER_VFIO, 1,
		 -EOPNOTSUPP, 0},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_STUB, VFIO_DRIVER_VFIO, 1,
		 -EOPNOTSUPP, 0},
		{"pool,vfs=4", VFIO_DRIVER_MODEL, VFIO_DRIVER_VFIO, 1, -EOPNOTSUPP, 0},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_MODEL, VFIO_DRIVER_VFIO, 1, -EBUSY,
		 64},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_MODEL, VFIO_DRIVER_STUB, 99, -EBUSY,
		 64},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_MODEL, VFIO_DRIVER_NONE, 1, -EINVAL,
		 64},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_MODEL, VFIO_DRIVER_NONE, 33,
		 -EOVERFLOW, 64},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_MODEL, VFIO_DRIVER_NONE, 2147483647,
		 -EOVERFLOW, 64},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_MODEL, VFIO_DRIVER_NONE, 17,
		 -ENOSPC, 64},
		{"pool,vfs=4,pool=64,min=2,max=32", VFIO_DRIVER_MODEL, VFIO_DRIVER_NONE, 16, -EIO,
		 64},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char spec[128];
		struct pool p;

		snprintf(spec, sizeof(spec), "%s,driver=none", rows[i].spec);
		pool_start(&p, spec);
		give_to(&p, rows[i].pf, rows[i].vf);
		p.model->answer = -EIO;
		assert_int_equal(vfio_device_vf_total_msix(p.pf), rows[i].total);
		if (vfio_device_set_vf_msix_count(p.vf[1], rows[i].n) != rows[i].ret)
			fail_msg("row %zu", i);
		assert_int_equal(p.model->asked, rows[i].ret == -EIO);
		pool_stop(&p);
	}
}

static void test_host_gives(void **state)
{
	struct pool p;

	pool_start(&p, "pool,vfs=4,driver=pool,pool=64,min=2,max=32");
	assert_int_equal(pool_enable(&p, 4), 0);
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[2], 2), 0);
	assert_int_equal(has(&p, 2), 2);
	assert_int_equal(p.model->last_index, 2);
	assert_int_equal(p.model->last_n, 2);
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[0], 31), -ENOSPC);
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[0], 30), 0);
	assert_int_equal(has(&p, 0), 30);
	/* The total is that of the pool, not what is left. */
	assert_int_equal(vfio_device_vf_total_msix(p.pf), 64);
	/* 0: as many as at first, which must be there. */
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[2], 0), -ENOSPC);
	assert_int_equal(has(&p, 2), 2);
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[0], 0), 0);
	assert_int_equal(p.model->last_n, 16); /* the model is told what it comes to */
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[2], 0), 0);
	assert_int_equal(has(&p, 0), 16);
	assert_int_equal(has(&p, 2), 16);
	/* What the model refuses changes nothing, nor is any of the pool lost. */
	p.model->answer = -ENOMEM;
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[2], 3), -ENOMEM);
	assert_int_equal(has(&p, 2), 16);
	assert_int_equal(give(&p, 1, 17), -ENOSPC);
	p.model->answer = 0;
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[2], 3), 0);
	assert_int_equal(give(&p, 1, 29), 0);
	assert_int_equal(give(&p, 1, 30), -ENOSPC);
	/* Not a VF, and a VF no more. */
	assert_int_equal(vfio_device_set_vf_msix_count(p.pf, 3), -EOPNOTSUPP);
	vectors_leave(p.vf[1]);
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[1], 3), -ENODEV);
	assert_int_equal(give(&p, 1, 3), -EINVAL);
	assert_int_equal(give(&p, 3, 32), 0); /* its vectors have gone back */
	assert_int_equal(give(&p, 0, 29), 0);
	assert_int_equal(give(&p, 0, 30), -ENOSPC);
	pool_stop(&p);
}

static void test_model_gives(void **state)
{
	struct pool p;

	pool_start(&p, "pool,vfs=4,driver=pool,pool=64,min=2,max=32");
	assert_int_equal(give(&p, 0, 4), -EINVAL);
	assert_int_equal(pool_enable(&p, 4), 0);
	/* Whoever has the PF, and whoever has the VF. */
	assert_int_equal(vfio_device_bind(p.vf[0]), 0);
	assert_int_equal(give(&p, 4, 4), -EINVAL);
	assert_int_equal(give(&p, 0, 1), -EINVAL);
	assert_int_equal(give(&p, 0, 0), -EINVAL);
	assert_int_equal(give(&p, 0, 33), -EOVERFLOW);
	assert_int_equal(give(&p, 0, 17), -ENOSPC);
	assert_int_equal(give(&p, 0, 2), 0);
	assert_int_equal(has(&p, 0), 2);
	assert_int_equal(p.model->asked, 0);
	pool_disable(&p);
	/* The next ones begin anew. */
	assert_int_equal(pool_enable(&p, 2), 0);
	assert_int_equal(has(&p, 0), 16);
	assert_int_equal(give(&p, 2, 16), -EINVAL);
	pool_stop(&p);

	/* Without a minimum there may be none; 0 is none, and no default. */
	pool_start(&p, "pool,vfs=4,driver=pool,pool=8");
	assert_int_equal(pool_enable(&p, 4), 0);
	assert_int_equal(give(&p, 0, 0), 0);
	assert_int_equal(has(&p, 0), 0);
	pool_stop(&p);

	pool_start(&p, "pool,vfs=4,driver=pool");
	assert_int_equal(pool_enable(&p, 4), 0);
	assert_int_equal(has(&p, 0), TABLE);
	assert_int_equal(give(&p, 0, 4), -EINVAL);
	pool_stop(&p);
}

/* ---- while the model is asked ---- */

static struct pool *asked_of;

static void gives_meanwhile(struct pool_model *m, unsigned index, unsigned n)
{
	/* 16 of 64 are to become 30, which are set aside. */
	assert_int_equal(give(asked_of, 1, 19), -ENOSPC);
	assert_int_equal(give(asked_of, 1, 18), 0);
	/* The same VF: what the command wants beside what is to come. */
	assert_int_equal(give(asked_of, 0, 32), -ENOSPC);
	assert_int_equal(give(asked_of, 0, 5), 0);
	assert_int_equal(has(asked_of, 0), 5);
	assert_int_equal(give(asked_of, 1, 19), -ENOSPC);
}

static void binds_meanwhile(struct pool_model *m, unsigned index, unsigned n)
{
	m->during = NULL;
	assert_int_equal(vfio_device_bind(asked_of->vf[0]), 0);
}

static void test_meanwhile(void **state)
{
	struct pool p;

	pool_start(&p, "pool,vfs=4,driver=pool,pool=64,max=32");
	assert_int_equal(pool_enable(&p, 4), 0);
	asked_of = &p;
	assert_int_equal(give(&p, 2, 8), 0);
	assert_int_equal(give(&p, 3, 8), 0);
	p.model->during = gives_meanwhile;
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[0], 30), 0);
	assert_int_equal(has(&p, 0), 30);
	assert_int_equal(has(&p, 1), 18);
	/* Refused: what the command gave stays. */
	p.model->answer = -EIO;
	assert_int_equal(give(&p, 0, 16), 0);
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[0], 30), -EIO);
	assert_int_equal(has(&p, 0), 5);
	assert_int_equal(give(&p, 0, 30), 0);
	/* A driver comes while the model is asked: it is told that all stays as it was. */
	p.model->answer = 0;
	p.model->during = binds_meanwhile;
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[0], 7), -EBUSY);
	assert_int_equal(has(&p, 0), 30);
	assert_int_equal(p.model->last_n, 30);
	unbind(p.vf[0]);
	assert_int_equal(vfio_device_set_vf_msix_count(p.vf[0], 7), 0);
	assert_int_equal(give(&p, 1, 32), 0);
	pool_stop(&p);
}

/* ---- random counts against a model ---- */

struct plain {
	unsigned total, min, max, n, has[MAX_VFS];
};

static unsigned plain_first(const struct plain *m)
{
	unsigned share = m->total / m->n < m->max / 2 ? m->total / m->n : m->max / 2;

	return share < m->min ? m->min : share;
}

static int plain_give(struct plain *m, unsigned index, unsigned n)
{
	unsigned sum = n;

	if (index >= m->n || n < m->min)
		return -EINVAL;
	if (n > m->max)
		return -EOVERFLOW;
	for (unsigned i = 0; i < m->n; i++)
		sum += i == index ? 0 : m->has[i];
	if (sum > m->total)
		return -ENOSPC;
	m->has[index] = n;
	return 0;
}

static void plain_check(struct plain *m, struct pool *p)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < m->n; i++) {
		struct vfio_irq_info info = {.argsz = sizeof(info),
					     .index = VFIO_PCI_MSIX_IRQ_INDEX};
		unsigned msix = pci_find_cap(p->vf[i]->func, PCI_CAP_ID_MSIX);

		assert_int_equal(has(p, i), m->has[i]);
		assert_int_equal(irq_get_info(p->vf[i]->irqs, &info), 0);
		assert_int_equal(info.count, m->has[i]);
		if (m->has[i])
			assert_int_equal(pci_hw_read(p->vf[i]->func, msix + PCI_MSIX_FLAGS, 2),
					 m->has[i] - 1);
		sum += m->has[i];
	}
	assert_true(sum <= m->total);
}

static void random_pool(uint32_t seed)
{
	struct plain m = {.total = 1 + seed % 200, .max = 1 + seed / 256 % TABLE};
	char spec[128];
	struct pool p;

	m.min = seed / 65536 % (m.max + 1);
	if (m.min > m.total)
		m.min = m.total;
	snprintf(spec, sizeof(spec), "pool,vfs=16,driver=pool,pool=%u,min=%u,max=%u", m.total,
		 m.min, m.max);
	pool_start(&p, spec);
	for (unsigned step = 0; step < 400; step++) {
		unsigned index, n;
		int want;

		seed = seed * 1664525 + 1013904223;
		index = (seed >> 8) % MAX_VFS;
		n = (seed >> 16) % (m.max + 2);
		if (!m.n || !(seed >> 27)) {
			if (p.n)
				pool_disable(&p);
			m.n = 1 + index;
			want = m.n * m.min > m.total ? -ENOSPC : 0;
			assert_int_equal(pool_enable(&p, m.n), want);
			for (unsigned i = 0; i < m.n; i++)
				m.has[i] = plain_first(&m);
			m.n = want ? 0 : m.n;
		} else if (seed >> 26 & 1) {
			want = plain_give(&m, index, n);
			assert_int_equal(give(&p, index, n), want);
		} else if (index < m.n) {
			want = plain_give(&m, index, n ? n : plain_first(&m));
			assert_int_equal(vfio_device_set_vf_msix_count(p.vf[index], n), want);
		}
		plain_check(&m, &p);
	}
	pool_stop(&p);
}

static void test_random(void **state)
{
	for (uint32_t i = 1; i <= 20; i++)
		random_pool(i * 2654435761u);
}

/* ---- several at once ---- */

struct writer {
	struct pool *p;
	uint32_t seed;
	unsigned changed;
};

static void *write_counts(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < 2000; i++) {
		unsigned index;

		w->seed = w->seed * 1664525 + 1013904223;
		index = (w->seed >> 8) % 4;
		if (w->seed >> 31)
			w->changed += !give(w->p, index, (w->seed >> 16) % 40);
		else
			w->changed += !vfio_device_set_vf_msix_count(w->p->vf[index],
								     (w->seed >> 16) % 40);
	}
	return NULL;
}

static void test_writers(void **state)
{
	struct writer writers[3];
	pthread_t threads[3];
	struct pool p;

	pool_start(&p, "pool,vfs=4,driver=pool,pool=64,min=1,max=32");
	assert_int_equal(pool_enable(&p, 4), 0);
	for (unsigned round = 0; round < 5; round++) {
		unsigned sum = 0;

		for (unsigned i = 0; i < 3; i++) {
			writers[i] = (struct writer){&p, round * 3 + i + 1, 0};
			pthread_create(&threads[i], NULL, write_counts, &writers[i]);
		}
		for (unsigned i = 0; i < 3; i++) {
			pthread_join(threads[i], NULL);
			assert_true(writers[i].changed);
		}
		for (unsigned i = 0; i < 4; i++)
			sum += has(&p, i);
		assert_true(sum <= 64);
		/* None is lost either: all of what is left can be had. */
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(give(&p, i, 1), 0);
		assert_int_equal(give(&p, 0, 32), 0);
		assert_int_equal(give(&p, 1, 30), 0);
		assert_int_equal(give(&p, 2, 2), -ENOSPC);
	}
	pool_stop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),       cmocka_unit_test(test_first_share),
		cmocka_unit_test(test_description), cmocka_unit_test(test_order),
		cmocka_unit_test(test_host_gives),  cmocka_unit_test(test_model_gives),
		cmocka_unit_test(test_meanwhile),   cmocka_unit_test(test_random),
		cmocka_unit_test(test_writers),
	};

	guarded_init();
	return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
