/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the user of a VF meets whose vectors were given or taken, before it opened the VF or
 * meanwhile (B, A.3, A.6, A.8): beyond the count there is nothing behind the table, whatever is
 * written there and by which way.
 */
#include <poll.h>
#include <sched.h>

#include "base/rcu.h"
#include "vectors_fixture.h"

#define ENTRY(v)   (VF_TABLE + 16 * (v))
#define CONTROL(v) (ENTRY(v) + 12)
#define ONES32     0xffffffffu

struct user {
	struct pool p;
	int efd[TABLE];
};

static void pick(struct user *u, struct vfio_device *dev)
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

static void leave(struct user *u)
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
static void start(struct user *u, unsigned n)
{
	pool_start(&u->p, "pool,vfs=4,pool=64,max=64");
	assert_int_equal(pool_enable(&u->p, 1), 0);
	assert_int_equal(give(&u->p, 0, n), 0);
	assert_int_equal(vfio_device_bind(u->p.vf[0]), 0);
	pick(u, u->p.vf[0]);
	for (unsigned i = 0; i < TABLE; i++)
		u->efd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void stop(struct user *u)
{
	for (unsigned i = 0; i < TABLE; i++)
		close(u->efd[i]);
	if (u->p.f.df)
		leave(u);
	pool_stop(&u->p);
}

static unsigned info_count(struct user *u, unsigned index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	assert_int_equal(dev_ioctl(&u->p.f, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
	return info.count;
}

/* The eventfds of vectors [@first, @first + @n) to these. */
static int set_eventfds(struct user *u, unsigned first, unsigned n)
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
static unsigned raised(struct user *u, unsigned vector)
{
	uint64_t value;

	bar_put(&u->p.f, 0, 0, 4, vector);
	return read(u->efd[vector], &value, sizeof(value)) < 0 ? 0 : (unsigned)value;
}

/* Vectors from @n on do not exist. */
static void assert_nothing(struct user *u, unsigned n)
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

static uint64_t load(struct user *u, unsigned off, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(vfio_device_load(u->p.f.df, VFIO_REGION_OFFSET(0) + off, size, &value), 0);
	return value;
}

static void store(struct user *u, unsigned off, unsigned size, uint64_t value)
{
	assert_int_equal(vfio_device_store(u->p.f.df, VFIO_REGION_OFFSET(0) + off, size, value), 0);
}

static unsigned find_msix(struct fixture *f)
{
	unsigned cap = config_get(f, PCI_CAPABILITY_LIST, 1);

	while (cap && config_get(f, cap, 1) != PCI_CAP_ID_MSIX)
		cap = config_get(f, cap + PCI_CAP_LIST_NEXT, 1);
	return cap;
}

/* Taken before the VF was opened: it looks like one of so many vectors, in a larger table page. */
static void test_before(void **state)
{
	struct user u;
	struct fixture *f = &u.p.f;
	unsigned msix;

	start(&u, 8);
	msix = find_msix(f);
	assert_int_equal(config_get(f, msix + PCI_MSIX_FLAGS, 2), 7);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 8);
	assert_int_equal(info_count(&u, VFIO_PCI_INTX_IRQ_INDEX), 0);
	assert_int_equal(set_eventfds(&u, 0, 9), -EINVAL);
	assert_int_equal(set_eventfds(&u, 0, 8), 0);
	/* The window is that of 8 entries; what is behind it is raw, and nothing. */
	assert_int_equal(bar_get(f, 0, CONTROL(7), 4), ONES32);
	assert_int_equal(bar_get(f, 0, ENTRY(8), 4), 0);
	assert_true(bar_get(f, 0, ENTRY(7) + 8, 8) == ~0ull);
	assert_int_equal(bar_get(f, 0, ENTRY(63) + 8, 8), 0);
	for (unsigned off = ENTRY(0); off < VF_TABLE + 0x1000; off += 4) {
		bar_put(f, 0, off, 4, off % 16 == 12 ? 0 : ONES32);
		store(&u, off, 4, off % 16 == 12 ? 0 : ONES32);
		if (off % 8 == 0)
			store(&u, off, 8, off % 16 ? 0xffffffff : ~0ull);
	}
	for (unsigned off = ENTRY(8); off < VF_TABLE + 0x1000; off += 4) {
		assert_int_equal(load(&u, off, 4), 0);
		assert_int_equal(bar_get(f, 0, off, 4), 0);
	}
	assert_int_equal(load(&u, ENTRY(7) + 8, 4), ONES32); /* its own entry it may write */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(raised(&u, i), 1);
	assert_nothing(&u, 8);
	stop(&u);
}

/* What read and write say of the table is what it was at the open (A.3). */
static void test_window(void **state)
{
	struct user u;
	struct fixture *f = &u.p.f;

	start(&u, 32);
	assert_int_equal(set_eventfds(&u, 0, 32), 0);
	assert_int_equal(give(&u.p, 0, 4), 0);
	assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2),
			 3 | PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 4);
	assert_int_equal(bar_get(f, 0, CONTROL(31), 4), ONES32);
	assert_int_equal(bar_get(f, 0, CONTROL(32), 4), 0);
	bar_put(f, 0, CONTROL(31), 4, 0);
	for (unsigned i = 4; i < 32; i++) {
		store(&u, CONTROL(i), 4, 0);
		assert_int_equal(load(&u, CONTROL(i), 4), 0);
		assert_int_equal(load(&u, ENTRY(i), 4), 0);
	}
	assert_nothing(&u, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(raised(&u, i), 1);
	leave(&u);
	/* The next one sees four. */
	pick(&u, u.p.vf[0]);
	assert_int_equal(bar_get(f, 0, CONTROL(3), 4), ONES32);
	assert_int_equal(bar_get(f, 0, CONTROL(4), 4), 0);
	stop(&u);
}

/* More than at the open: the rest of the table is reached by read and write as by a mapping. */
static void test_grown(void **state)
{
	struct user u;
	struct fixture *f = &u.p.f;

	start(&u, 4);
	assert_int_equal(set_eventfds(&u, 0, 4), 0);
	assert_int_equal(give(&u.p, 0, 16), 0);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 16);
	assert_int_equal(bar_get(f, 0, CONTROL(15), 4), 1); /* as after power-on */
	assert_int_equal(load(&u, CONTROL(15), 4), 1);
	assert_int_equal(raised(&u, 15), 0);
	assert_int_equal(bar_get(f, 0, VF_PBA, 8), 0x8000);
	assert_int_equal(set_eventfds(&u, 15, 1), 0);
	assert_int_equal(bar_get(f, 0, VF_PBA, 8), 0);
	assert_int_equal(raised(&u, 15), 2); /* the one that was pending, and this one */
	assert_int_equal(bar_get(f, 0, ENTRY(15) + 8, 4), 15);
	bar_put(f, 0, CONTROL(15), 4, 1);
	assert_int_equal(raised(&u, 15), 0);
	bar_put(f, 0, CONTROL(15), 4, 0);
	assert_int_equal(raised(&u, 15), 2);
	bar_put(f, 0, CONTROL(3), 4, 1); /* behind the window: swallowed */
	assert_int_equal(raised(&u, 3), 1);
	assert_nothing(&u, 16);
	stop(&u);
}

/* A client of a door that masks by the region. */
static void test_masking_door(void **state)
{
	struct user u;
	struct fixture *f = &u.p.f;

	start(&u, 8);
	vfio_device_file_mask_vectors(f->df);
	assert_int_equal(set_eventfds(&u, 0, 8), 0);
	assert_int_equal(give(&u.p, 0, 2), 0);
	for (unsigned i = 0; i < TABLE; i++) {
		bar_put(f, 0, CONTROL(i), 4, 1);
		bar_put(f, 0, CONTROL(i), 4, 0);
	}
	assert_int_equal(raised(&u, 0), 1);
	assert_int_equal(raised(&u, 1), 1);
	assert_nothing(&u, 2);
	bar_put(f, 0, CONTROL(1), 4, 1);
	assert_int_equal(raised(&u, 1), 0);
	bar_put(f, 0, CONTROL(1), 4, 0);
	assert_int_equal(raised(&u, 1), 2);
	stop(&u);
}

/* A page that the client writes as it likes. */
static void test_written_page(void **state)
{
	struct user u;
	struct fixture *f = &u.p.f;
	uint32_t *page;

	start(&u, 16);
	assert_int_equal(vfio_device_file_set_mmio(f->df, VFIO_MMIO_POLLED), 0);
	assert_int_equal(set_eventfds(&u, 0, 16), 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vfio_device_view_fd(f->dev),
		    (off_t)(VFIO_REGION_OFFSET(0) + VF_TABLE));
	assert_ptr_not_equal(page, MAP_FAILED);
	assert_int_equal(page[15 * 4], 0xfee00000);
	assert_int_equal(give(&u.p, 0, 3), 0);
	/* What is gone is gone from the page. */
	for (unsigned i = 3 * 4; i < 1024; i++)
		assert_int_equal(page[i], 0);
	for (unsigned i = 0; i < 1024; i++)
		page[i] = i % 4 == 3 ? 0 : 0xfee00000 | i << 2;
	uvfio_ctx_flush(uvfio_device_ctx((struct uvfio_device *)f->dev));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(raised(&u, i), 1);
	assert_nothing(&u, 3);
	/* New vectors have nothing of it. */
	assert_int_equal(give(&u.p, 0, 5), 0);
	assert_int_equal(load(&u, ENTRY(3), 4), 0);
	assert_int_equal(load(&u, CONTROL(4), 4), 1);
	assert_int_equal(page[4 * 4 + 3], 1);
	assert_int_equal(raised(&u, 4), 0);
	assert_nothing(&u, 5);
	munmap(page, 4096);
	stop(&u);
}

/* None: no capability, no window, nothing to be had. */
static void test_none(void **state)
{
	struct {
		struct vfio_region_info info;
		struct vfio_info_cap_header cap;
	} region = {.info = {.argsz = sizeof(region)}};
	struct vfio_irq_set off = {.argsz = sizeof(off),
				   .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				   .index = VFIO_PCI_MSIX_IRQ_INDEX};
	struct user u;
	struct fixture *f = &u.p.f;

	start(&u, 0);
	assert_int_equal(find_msix(f), 0);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 0);
	assert_int_equal(info_count(&u, VFIO_PCI_INTX_IRQ_INDEX), 0);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
	assert_false(region.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
	assert_int_equal(set_eventfds(&u, 0, 1), -EINVAL);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &off), -EINVAL);
	for (unsigned i = 0; i < TABLE; i++) {
		bar_put(f, 0, CONTROL(i), 4, 0);
		store(&u, CONTROL(i), 4, 0);
		assert_int_equal(bar_get(f, 0, CONTROL(i), 4), 0);
	}
	assert_int_equal(raised(&u, 0), 0);
	/* With it open they come, live; the list is that of the open (A.7). */
	assert_int_equal(give(&u.p, 0, 2), 0);
	assert_int_equal(find_msix(f), 0);
	assert_int_equal(set_eventfds(&u, 0, 2), 0);
	assert_int_equal(raised(&u, 1), 1);
	leave(&u);
	pick(&u, u.p.vf[0]);
	assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2), 1);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
	assert_true(region.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
	assert_int_equal(set_eventfds(&u, 0, 2), 0);
	/* All are taken while they are in use: only closing ends it. */
	assert_int_equal(give(&u.p, 0, 0), 0);
	assert_true(find_msix(f));
	assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE, 0);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &off), -EINVAL);
	assert_nothing(&u, 0);
	leave(&u);
	pick(&u, u.p.vf[0]);
	assert_int_equal(find_msix(f), 0);
	stop(&u);
}

/* The window also says which ioeventfds would be in it (A.8). */
static void test_ioeventfd(void **state)
{
	struct vfio_device_ioeventfd req = {
		.argsz = sizeof(req), .flags = VFIO_DEVICE_IOEVENTFD_32, .data = 0};
	struct pollfd pfd = {.events = POLLIN};
	uint64_t one = 1;
	struct user u;
	struct fixture *f = &u.p.f;

	start(&u, 8);
	assert_int_equal(set_eventfds(&u, 0, 8), 0);
	req.fd = pfd.fd = u.efd[63];
	req.offset = VFIO_REGION_OFFSET(0) + CONTROL(7);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_IOEVENTFD, &req), -EINVAL);
	req.offset = VFIO_REGION_OFFSET(0) + CONTROL(8);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_IOEVENTFD, &req), 0);
	assert_int_equal(write(u.efd[63], &one, 8), 8);
	while (poll(&pfd, 1, 0)) /* until the device has taken it */
		sched_yield();
	uvfio_ctx_flush(uvfio_device_ctx((struct uvfio_device *)f->dev));
	assert_int_equal(load(&u, CONTROL(8), 4), 0);
	assert_nothing(&u, 8);
	stop(&u);
}

/* No reset brings anything back, nor takes anything. */
static void test_resets(void **state)
{
	struct user u;
	struct fixture *f = &u.p.f;

	start(&u, 16);
	assert_int_equal(set_eventfds(&u, 0, 16), 0);
	assert_int_equal(give(&u.p, 0, 5), 0);
	for (unsigned i = 0; i < 3; i++) {
		if (i == 0)
			assert_int_equal(dev_ioctl(f, VFIO_DEVICE_RESET, NULL), 0);
		else if (i == 1)
			assert_int_equal(vfio_device_host_reset(u.p.vf[0]), 0);
		else
			assert_int_equal(vfio_device_host_reset(u.p.pf), 0);
		assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 5);
		assert_int_equal(config_get(f, find_msix(f) + PCI_MSIX_FLAGS, 2),
				 4 | PCI_MSIX_FLAGS_ENABLE);
		for (unsigned k = 0; k < 5; k++)
			assert_int_equal(raised(&u, k), 1);
		assert_nothing(&u, 5);
	}
	leave(&u);
	pick(&u, u.p.vf[0]);
	assert_int_equal(info_count(&u, VFIO_PCI_MSIX_IRQ_INDEX), 5);
	stop(&u);
}

/* ---- everything at once ---- */

#if defined(__SANITIZE_THREAD__)
#define ROUNDS 25u
#else
#define ROUNDS 80u
#endif

struct storm {
	struct user u;
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
		cmocka_unit_test(test_before),       cmocka_unit_test(test_window),
		cmocka_unit_test(test_grown),        cmocka_unit_test(test_masking_door),
		cmocka_unit_test(test_written_page), cmocka_unit_test(test_none),
		cmocka_unit_test(test_ioeventfd),    cmocka_unit_test(test_resets),
		cmocka_unit_test(test_everything),
	};

	guarded_init();
	return cmocka_run_group_tests_name("vectors_user", tests, NULL, NULL);
}
