/* SPDX-License-Identifier: BSD-3-Clause */
/* Who has a VF open whose vectors are given and taken. */
#ifndef UVFIO_TESTS_VECTORS_OWNER_H
#define UVFIO_TESTS_VECTORS_OWNER_H

#include "vectors_fixture.h"

#define ENTRY(v)   (VF_TABLE + 16 * (v))
#define CONTROL(v) (ENTRY(v) + 12)
#define ONES32     0xffffffffu

struct owner {
	struct pool p;
	int efd[TABLE];
};

static inline void pick(struct owner *u, struct vfio_device *dev)
{
	struct fixture *f = &u->p.f;

	assert_int_equal(vfio_group_open(f->machine, vfio_device_group(dev), &f->gf), 0);
	assert_int_equal(vfio_container_open(f->machine, &f->container), 0);
	assert_int_equal(vfio_group_set_container(f->gf, f->container), 0);
	assert_int_equal(
		vfio_container_ioctl(f->container, f->client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
		0);
	assert_int_equal(
		vfio_group_get_device(f->gf, f->client, (uintptr_t)vfio_device_name(dev), &f->df),
		0);
	f->dev = vfio_device_file_device(f->df);
	config_put(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static inline void leave(struct owner *u)
{
	struct fixture *f = &u->p.f;

	vfio_device_release(f->df);
	vfio_group_release(f->gf);
	vfio_container_release(f->container);
	f->df = NULL;
	f->gf = NULL;
	f->container = NULL;
}

/* VF 0 of a pool of 64, with @n vectors, is bound to vfio-pci and open. */
static inline void start(struct owner *u, unsigned n)
{
	pool_start(&u->p, "pool,vfs=4,driver=pool,pool=64,max=64");
	assert_int_equal(pool_enable(&u->p, 1), 0);
	assert_int_equal(give(&u->p, 0, n), 0);
	assert_int_equal(vfio_device_bind(u->p.vf[0]), 0);
	pick(u, u->p.vf[0]);
	for (unsigned i = 0; i < TABLE; i++)
		u->efd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static inline void stop(struct owner *u)
{
	for (unsigned i = 0; i < TABLE; i++)
		close(u->efd[i]);
	if (u->p.f.df)
		leave(u);
	pool_stop(&u->p);
}

static inline unsigned info_count(struct owner *u, unsigned index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	assert_int_equal(dev_ioctl(&u->p.f, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
	return info.count;
}

/* The eventfds of vectors [@first, @first + @n) to these. */
static inline int set_eventfds(struct owner *u, unsigned first, unsigned n)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fds[TABLE];
	} req = {.hdr = {.argsz = (uint32_t)(sizeof(req.hdr) + 4 * n),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX,
			 .start = first,
			 .count = n}};

	memcpy(req.fds, u->efd + first, 4 * n);
	return dev_ioctl(&u->p.f, VFIO_DEVICE_SET_IRQS, &req);
}

/* The device raises @vector: how often its eventfd was signalled. */
static inline unsigned raised(struct owner *u, unsigned vector)
{
	uint64_t value;

	bar_put(&u->p.f, 0, 0, 4, vector);
	return read(u->efd[vector], &value, sizeof(value)) < 0 ? 0 : (unsigned)value;
}

/* Vectors from @n on do not exist. */
static inline void assert_nothing(struct owner *u, unsigned n)
{
	struct fixture *f = &u->p.f;

	for (unsigned i = n; i < TABLE; i++) {
		uint64_t before = irq_dropped(f->dev->irqs);

		assert_int_equal(raised(u, i), 0);
		assert_int_equal(irq_dropped(f->dev->irqs), before + 1);
		assert_int_equal(set_eventfds(u, i, 1), -EINVAL);
	}
	assert_int_equal(bar_get(f, 0, VF_PBA, 8) & ~(n < 64 ? (1ull << n) - 1 : ~0ull), 0);
}

static inline uint64_t load(struct owner *u, unsigned off, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(vfio_device_load(u->p.f.df, VFIO_REGION_OFFSET(0) + off, size, &value), 0);
	return value;
}

static inline void store(struct owner *u, unsigned off, unsigned size, uint64_t value)
{
	assert_int_equal(vfio_device_store(u->p.f.df, VFIO_REGION_OFFSET(0) + off, size, value), 0);
}

static inline unsigned find_msix(struct fixture *f)
{
	unsigned cap = config_get(f, PCI_CAPABILITY_LIST, 1);

	while (cap && config_get(f, cap, 1) != PCI_CAP_ID_MSIX)
		cap = config_get(f, cap + PCI_CAP_LIST_NEXT, 1);
	return cap;
}

#endif
