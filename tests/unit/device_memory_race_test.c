/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices that write into each other's memory and registers, and ring each other's commands,
 * while threads reset them, take their memory away and map and unmap it (D.4).  Nothing may change
 * in a memory that is away, nothing of a mapping that was unmapped may land, and it all ends.
 */
#include <linux/pci_regs.h>
#include "p2p_fixture.h"

#define ROUNDS 30000u

/* So often a memory changed while it was away. */
static atomic_uint changed;

struct race {
	struct p2p p;
	atomic_bool stop;
	atomic_uint landed, faulted;
};

/* A copy of a device's memory, as it is while nobody may change it. */
static uint64_t sum_of(struct vfio_device *dev)
{
	const uint8_t *memory = dev->bars[2].memory;
	uint64_t sum = 0;

	for (unsigned i = 0; i < 8192; i += 8) {
		uint64_t word = 0;

		uvfio_copy(&word, memory + i, 8);
		sum = sum * 31 + word;
	}
	return sum;
}

/* The model's reset: memory is away from before it to after it. */
static void watching_reset(void *priv, enum uvfio_reset_kind kind)
{
	struct probe *p = priv;
	struct vfio_device *dev = (struct vfio_device *)p->dev;
	uint64_t before = sum_of(dev);

	for (unsigned i = 0; i < 10; i++) {
		sched_yield();
		changed += sum_of(dev) != before;
	}
	probe_reset(priv, kind);
	changed += sum_of(dev) != before;
}

static void command(struct p2p *p, unsigned n, uint32_t cmd, uint64_t iova, uint32_t len)
{
	uint64_t value[] = {iova, len, cmd};
	static const unsigned off[] = {REG_DMA_IOVA, REG_DMA_LEN, REG_DMA_CMD};

	for (unsigned i = 0; i < 3; i++)
		vfio_device_write(p->df[n], VFIO_REGION_OFFSET(0) + off[i], &value[i], i ? 4 : 8);
}

/* Keeps device @n at it: the other's memory, its registers, its own. */
static void keep_busy(struct race *r, unsigned n)
{
	static const uint64_t iovas[] = {0x100000, 0x200000 + 0x800, 0x300000, 0x400000 + 0x800};

	for (unsigned i = 0; !atomic_load(&r->stop); i++) {
		uint32_t before = p2p_done(r->p.probe[n]), status = 0;
		uint64_t iova = iovas[i & 3] + n * 0x1000000;
		bool read = i / 8 & 1;

		/* What is read is written later; a register that counts makes it another each time.
		 */
		if (read && i & 1)
			iova += REG_COUNTER - 0x800;
		command(&r->p, n, read ? CMD_READ : CMD_WRITE, iova, i & 4 ? 8192 - 0x800 : 64);
		for (unsigned k = 0; k < 100 && p2p_done(r->p.probe[n]) == before; k++)
			sched_yield();
		vfio_device_read(r->p.df[n], VFIO_REGION_OFFSET(0) + REG_DMA_STATUS, &status, 4);
		if (status)
			r->faulted++;
		else
			r->landed++;
	}
}

static void *busy0(void *arg)
{
	keep_busy(arg, 0);
	return NULL;
}

static void *busy1(void *arg)
{
	keep_busy(arg, 1);
	return NULL;
}

static void write_command(struct p2p *p, unsigned n, uint16_t command)
{
	vfio_device_write(p->df[n], VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + PCI_COMMAND,
			  &command, 2);
}

/* Resets and decode of both, without end. */
static void *takes_away(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; !atomic_load(&r->stop); i++) {
		unsigned n = i & 1;

		if (i & 2) {
			vfio_device_ioctl(r->p.df[n], r->p.f.client, VFIO_DEVICE_RESET, 0);
		} else {
			uint64_t before;

			write_command(&r->p, n, PCI_COMMAND_MASTER);
			before = sum_of(r->p.dev[n]);
			sched_yield();
			changed += sum_of(r->p.dev[n]) != before;
			write_command(&r->p, n, COMMAND_ON);
		}
	}
	return NULL;
}

static void map_all(struct p2p *p, unsigned n)
{
	uint64_t at = n * 0x1000000;

	assert_int_equal(p2p_map(p, 0x100000 + at, BAR_OF(!n, 2), 8192, ALL), 0);
	assert_int_equal(p2p_map(p, 0x200000 + at, BAR_OF(!n, 0), 8192, ALL), 0);
	assert_int_equal(p2p_map(p, 0x300000 + at, BAR_OF(n, 2), 8192, ALL), 0);
	assert_int_equal(p2p_map(p, 0x400000 + at, BAR_OF(n, 0), 8192, ALL), 0);
}

static void test_everything_at_once(void **state)
{
	static struct uvfio_model model;
	pthread_t threads[3];
	struct race r = {0};
	uint64_t bytes;

	p2p_up(&r.p, "probe,memory=on", "probe,memory=on");
	model = probe_model;
	model.reset = watching_reset;
	r.p.dev[0]->model = &model;
	r.p.dev[1]->model = &model;
	/* What BAR_OF() finds its way by. */
	assert_int_equal(dma_unmap(&r.p.f, IOVA_MEM, CLIENT_MEM, NULL), 0);
	map_all(&r.p, 0);
	map_all(&r.p, 1);
	assert_int_equal(pthread_create(&threads[0], NULL, busy0, &r), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, busy1, &r), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, takes_away, &r), 0);
	for (unsigned i = 0; i < ROUNDS || !r.landed || !r.faulted; i++) {
		/* The mapping of its memory by the other device, which may be away just now. */
		uint64_t iova = 0x100000 + (i & 1) * 0x1000000ull, size = 0;

		dma_unmap(&r.p.f, iova, 8192, &size);
		p2p_map(&r.p, iova, BAR_OF(!(i & 1), 2), 8192, ALL);
	}
	r.stop = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(changed, 0);
	assert_int_equal(dma_unmap(&r.p.f, 0, 0x10000000, &bytes), 0);
	p2p_down(&r.p);
}

/* Two devices that ring each other's command register without end do not keep others from their
 * loops, and end when they are told to. */
static void test_ring_each_other(void **state)
{
	struct {
		uint64_t iova;
		uint32_t len, pad, cmd;
	} to0 = {0x200000 + REG_DMA_IOVA, 20, 0, CMD_WRITE},
	  to1 = {0x1200000 + REG_DMA_IOVA, 20, 0, CMD_WRITE};
	struct p2p p;
	uint32_t id, seen;

	p2p_up(&p, "probe,memory=on", "probe,memory=on");
	assert_int_equal(dma_unmap(&p.f, IOVA_MEM, CLIENT_MEM, NULL), 0);
	map_all(&p, 0);
	map_all(&p, 1);
	memcpy(p.probe[0]->buf, &to1, 20); /* what 0 writes into 1 */
	memcpy(p.probe[1]->buf, &to0, 20);
	command(&p, 0, CMD_WRITE, to0.iova, 20);
	while (p.probe[0]->works < 1000)
		sched_yield();
	/* Others have their turn: registers, a flush of each context, config space. */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(vfio_device_read(p.df[i & 1], VFIO_REGION_OFFSET(0), &id, 4), 4);
		assert_int_equal(id, PROBE_ID);
		uvfio_ctx_flush(p.dev[i & 1]->ctx);
	}
	seen = p.probe[0]->works;
	while (p.probe[0]->works == seen)
		sched_yield();
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(vfio_device_ioctl(p.df[n], p.f.client, VFIO_DEVICE_RESET, 0), 0);
	p2p_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_at_once),
		cmocka_unit_test(test_ring_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
