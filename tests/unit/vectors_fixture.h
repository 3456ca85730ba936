/* SPDX-License-Identifier: BSD-3-Clause */
/* A PF whose model has a pool of vectors, and VFs that use it. */
#ifndef UVFIO_TESTS_VECTORS_FIXTURE_H
#define UVFIO_TESTS_VECTORS_FIXTURE_H

#include <stdatomic.h>

#include "sriov_fixture.h"
#include "vfio/machine_private.h"
#include "vfio/vectors.h"

#define MAX_VFS  16u
#define TABLE    64u /* vectors at most of a VF: the table is the second page of BAR 0 */

#define VF_TABLE 0x1000u
#define VF_PBA   0x2000u

struct pool_model {
	struct uvfio_device *dev;
	unsigned index;
	bool vf;
	/* of a PF: what ->vf_vectors() answers and was told */
	atomic_int answer;
	atomic_uint asked, last_index, last_n;
	void (*during)(struct pool_model *pf, unsigned index, unsigned n); /* called in it */
	void *arg;
};

static unsigned long pool_option(const struct uvfio_args *args, const char *key,
				 unsigned long otherwise)
{
	const char *value = uvfio_arg(args, key);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

static int pool_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		       struct uvfio_error *err)
{
	static const struct uvfio_area regs[] = {{0, 0x80, UVFIO_AREA_REGISTERS, 0}};
	struct uvfio_pci_desc desc = {
		.vendor = 0x1b36,
		.device = 0x0043,
		.class_code = 0xff0000,
		.bars[0] = {16384, UVFIO_BAR_MEM64, regs, 1},
		.msix_vectors = (unsigned)pool_option(args, "table", TABLE),
		.msix_table = VF_TABLE,
		.msix_pba = VF_PBA,
		.pcie = true,
		.pm = true,
		.flr = true,
	};
	const struct uvfio_pci_desc vf = desc;
	const struct uvfio_sriov_desc sriov = {
		.total_vfs = (unsigned)pool_option(args, "vfs", 0),
		.vf_device = 0x0044,
		.vf = &vf,
		.msix_pool = (unsigned)pool_option(args, "pool", 0),
		.msix_min = (unsigned)pool_option(args, "min", 0),
		.msix_max = (unsigned)pool_option(args, "max", 0),
	};
	struct pool_model *m = calloc(1, sizeof(*m));
	int ret;

	assert_non_null(m);
	m->dev = dev;
	if (sriov.total_vfs)
		desc.sriov = &sriov;
	ret = uvfio_device_init(dev, &desc, err);
	if (ret)
		free(m);
	*priv = m;
	return ret;
}

static int pool_vf_create(void *pf, unsigned index, struct uvfio_device *vf, void **priv,
			  struct uvfio_error *err)
{
	struct pool_model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->dev = vf;
	m->index = index;
	m->vf = true;
	*priv = m;
	return 0;
}

static void pool_destroy(void *priv)
{
	free(priv);
}

/* Register 0: raise the vector. */
static void pool_write(void *priv, unsigned bar, uint64_t off, unsigned size, uint64_t value)
{
	struct pool_model *m = priv;

	if (!off)
		uvfio_irq_raise(m->dev, (unsigned)value);
}

static bool pool_work(void *priv)
{
	return false;
}

static void pool_quiesce(void *priv)
{
	uvfio_quiesced(((struct pool_model *)priv)->dev);
}

static void pool_reset(void *priv, enum uvfio_reset_kind kind)
{
}

static int pool_vf_vectors(void *priv, unsigned index, unsigned n)
{
	struct pool_model *m = priv;

	atomic_fetch_add(&m->asked, 1);
	atomic_store(&m->last_index, index);
	atomic_store(&m->last_n, n);
	if (m->during)
		m->during(m, index, n);
	return atomic_load(&m->answer);
}

static const struct uvfio_key pool_keys[] = {
	{"vfs", "N", "", false}, {"pool", "N", "", false},  {"min", "N", "", false},
	{"max", "N", "", false}, {"table", "N", "", false},
};

static const struct uvfio_model pool_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "pool",
	.summary = "",
	.keys = pool_keys,
	.nr_keys = ARRAY_SIZE(pool_keys),
	.create = pool_create,
	.destroy = pool_destroy,
	.reg_write = pool_write,
	.work = pool_work,
	.quiesce = pool_quiesce,
	.reset = pool_reset,
	.vf_create = pool_vf_create,
	.vf_vectors = pool_vf_vectors,
};

struct pool {
	struct fixture f;
	struct vfio_device *pf, *vf[MAX_VFS];
	struct pool_model *model; /* the PF's */
	unsigned n;
};

/* The machine with a PF as @spec says, whose VFs nobody has when they are made. */
static inline int pool_try(struct pool *p, const char *spec, struct uvfio_error *err)
{
	int ret;

	memset(p, 0, sizeof(*p));
	sriov_up(&p->f, NULL);
	assert_int_equal(vfio_machine_add_model(p->f.machine, &pool_model), 0);
	ret = vfio_machine_add_device(p->f.machine, spec, err);
	if (ret)
		return ret;
	assert_int_equal(vfio_machine_devices(p->f.machine, &p->pf, 1), 1);
	p->model = p->pf->priv;
	vfio_device_set_drivers_autoprobe(p->pf, false);
	return 0;
}

static inline void pool_start(struct pool *p, const char *spec)
{
	struct uvfio_error err = {""};

	if (pool_try(p, spec, &err))
		fail_msg("%s: %s", spec, err.msg);
}

static inline int pool_enable(struct pool *p, unsigned n)
{
	int ret = set_numvfs(p->pf, n);

	p->n = ret ? 0 : n;
	for (unsigned i = 0; i < p->n; i++) {
		p->vf[i] = vfio_device_get_vf(p->pf, i);
		assert_non_null(p->vf[i]);
		vfio_device_put(p->vf[i]); /* it stays until there are none */
	}
	return ret;
}

static inline void pool_disable(struct pool *p)
{
	assert_int_equal(set_numvfs(p->pf, 0), 0);
	p->n = 0;
}

static inline void pool_stop(struct pool *p)
{
	fixture_close(&p->f);
}

static inline unsigned has(struct pool *p, unsigned index)
{
	return uvfio_vf_vectors((struct uvfio_device *)p->vf[index]);
}

static inline int give(struct pool *p, unsigned index, unsigned n)
{
	return uvfio_vf_set_vectors((struct uvfio_device *)p->pf, index, n);
}

#endif
