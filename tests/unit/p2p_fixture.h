/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of device memory (D.4) share: two devices that are open, in one container, whose
 * client has mapped the view of either: at VIEW_OF(n) + the offset in its view.
 */
#ifndef TESTS_UNIT_P2P_FIXTURE_H
#define TESTS_UNIT_P2P_FIXTURE_H

#include <semaphore.h>
#include "vfio_fixture.h"
#include "iommu/peer.h"
#include "vfio/machine_private.h"

#define VIEW_OF(n)   (1ull << 62 | (uint64_t)(n) << 56)
#define BAR_OF(n, i) (VIEW_OF(n) + VFIO_REGION_OFFSET(i))
#define IOVA_P2P     0x100000ull
#define IOVA_MEM     0x800000ull
#define ALL          (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

struct p2p {
	struct fixture f;
	struct vfio_group_file *gf[2];
	struct vfio_device_file *df[2];
	struct vfio_device *dev[2];
	struct probe *probe[2];
	bool by_messages; /* what device 0 asks of device 1 goes the long way */
};

static inline int p2p_import(void *client, uint64_t vaddr, uint64_t size, unsigned prot,
			     struct iommu_mem **mem, unsigned *nr)
{
	struct p2p *p = (struct p2p *)((char *)client - offsetof(struct p2p, f.tc.client));
	unsigned n = vaddr >> 56 & 1;
	struct stat st;
	int ret;

	if (!(vaddr >> 62))
		return client_import(client, vaddr, size, prot, mem, nr);
	*mem = calloc(1, sizeof(**mem));
	assert_non_null(*mem);
	*nr = 1;
	assert_int_equal(fstat(vfio_device_view_fd(p->dev[n]), &st), 0);
	ret = vfio_device_memory(p->f.machine, &st, vaddr & ((1ull << 56) - 1), size, *mem);
	if (ret)
		free(*mem);
	return ret;
}

static inline void p2p_release(void *client, struct iommu_mem *mem, unsigned nr)
{
	if (mem->kind == IOMMU_MEM_PEER)
		vfio_device_memory_put(mem);
	free(mem);
}

static const struct vfio_client_ops p2p_client_ops = {
	.copy_from = client_copy_from,
	.copy_to = client_copy_to,
	.get_eventfd = client_eventfd,
	.get_group = client_group,
	.memory = {p2p_import, p2p_release},
};

/* What takes a struct fixture is about device @n from now on. */
static inline struct fixture *p2p_at(struct p2p *p, unsigned n)
{
	p->f.gf = p->gf[n];
	p->f.df = p->df[n];
	p->f.dev = p->dev[n];
	p->f.probe = p->probe[n];
	return &p->f;
}

static inline void p2p_open(struct p2p *p, unsigned n)
{
	char name[] = "0000:01:00.0";

	name[6] = (char)('1' + n);
	assert_int_equal(vfio_group_open(p->f.machine, n + 1, &p->gf[n]), 0);
	assert_int_equal(vfio_group_set_container(p->gf[n], p->f.container), 0);
	if (!n)
		assert_int_equal(vfio_container_ioctl(p->f.container, p->f.client, VFIO_SET_IOMMU,
						      VFIO_TYPE1v2_IOMMU),
				 0);
	assert_int_equal(vfio_group_get_device(p->gf[n], p->f.client, (uintptr_t)name, &p->df[n]),
			 0);
	p->dev[n] = vfio_device_file_device(p->df[n]);
	config_put(p2p_at(p, n), PCI_COMMAND, 2, COMMAND_ON);
}

static inline void p2p_shut(struct p2p *p, unsigned n)
{
	if (p->df[n])
		vfio_device_release(p->df[n]);
	p->df[n] = NULL;
	if (p->gf[n])
		vfio_group_release(p->gf[n]);
	p->gf[n] = NULL;
}

/* Two devices of these specs, and the client's memory at IOVA_MEM. */
static inline void p2p_up(struct p2p *p, const char *spec0, const char *spec1)
{
	memset(p, 0, sizeof(*p));
	fixture_machine(&p->f);
	p->f.tc.client.ops = &p2p_client_ops;
	fixture_add(&p->f, spec0);
	fixture_add(&p->f, spec1);
	p->probe[0] = probes[0];
	p->probe[1] = probes[1];
	assert_int_equal(vfio_container_open(p->f.machine, &p->f.container), 0);
	p2p_open(p, 0);
	p2p_open(p, 1);
	assert_int_equal(dma_map(&p->f, IOVA_MEM, 0, CLIENT_MEM, 3), 0);
}

static inline void p2p_down(struct p2p *p)
{
	p2p_shut(p, 0);
	p2p_shut(p, 1);
	p->f.df = NULL;
	p->f.gf = NULL;
	fixture_close(&p->f);
}

/* Map @size bytes at @vaddr, which is of a view. */
static inline int p2p_map(struct p2p *p, uint64_t iova, uint64_t vaddr, uint64_t size,
			  unsigned flags)
{
	return dma_map(&p->f, iova, vaddr - (uintptr_t)p->f.tc.mem, size, flags);
}

/* As if somebody were at the registers of device 1 just now, so that its memory cannot be had at
 * once. */
static inline void p2p_occupy(struct p2p *p, bool on)
{
	if (on)
		pthread_mutex_lock(&p->dev[1]->reg_lock);
	else
		pthread_mutex_unlock(&p->dev[1]->reg_lock);
}

static inline uint32_t p2p_done(struct probe *probe)
{
	uint32_t done;

	pthread_mutex_lock(&probe->lock);
	done = probe->done;
	pthread_mutex_unlock(&probe->lock);
	return done;
}

/* Give device @n a command, and run both contexts until it has ended: its status. */
static inline int p2p_command(struct p2p *p, unsigned n, uint32_t cmd, uint64_t iova, uint32_t len)
{
	struct fixture *f = p2p_at(p, n);
	uint32_t before = p2p_done(f->probe);
	bool occupy = p->by_messages && !n;

	if (occupy)
		p2p_occupy(p, true);
	bar_put(f, 0, REG_DMA_IOVA, 8, iova);
	bar_put(f, 0, REG_DMA_LEN, 4, len);
	bar_put(f, 0, REG_DMA_CMD, 4, cmd);
	uvfio_ctx_flush(uvfio_device_ctx(p->probe[0]->dev));
	if (occupy)
		p2p_occupy(p, false);
	for (unsigned i = 0; p2p_done(f->probe) == before; i++) {
		assert_true(i < 100000);
		uvfio_ctx_flush(uvfio_device_ctx(p->probe[0]->dev));
		uvfio_ctx_flush(uvfio_device_ctx(p->probe[1]->dev));
	}
	return -(int)bar_get(f, 0, REG_DMA_STATUS, 4);
}

/* What a read of the region says. */
static inline void memory_is(struct p2p *p, unsigned n, uint64_t off, const void *data, size_t len)
{
	uint8_t buf[8192];

	assert_int_equal(vfio_device_read(p->df[n], VFIO_REGION_OFFSET(2) + off, buf, len), len);
	assert_memory_equal(buf, data, len);
}

struct blocker {
	struct uvfio_work work;
	sem_t entered, leave;
};

static inline void block(struct uvfio_work *work)
{
	struct blocker *b = (struct blocker *)work;

	sem_post(&b->entered);
	while (sem_wait(&b->leave))
		;
}

/* Nothing runs in the context of device @n until let_go(). */
static inline void hold_up(struct p2p *p, unsigned n, struct blocker *b)
{
	*b = (struct blocker){.work.fn = block};
	sem_init(&b->entered, 0, 0);
	sem_init(&b->leave, 0, 0);
	uvfio_ctx_post(uvfio_device_ctx(p->probe[n]->dev), &b->work);
	while (sem_wait(&b->entered))
		;
}

static inline void let_go(struct p2p *p, unsigned n, struct blocker *b)
{
	sem_post(&b->leave);
	uvfio_ctx_flush(uvfio_device_ctx(p->probe[n]->dev));
	sem_destroy(&b->entered);
	sem_destroy(&b->leave);
}

#endif
