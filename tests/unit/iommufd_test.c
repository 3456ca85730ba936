/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/iommufd*.c, cdev.c and src/iommu/ioas*.c: what a client cannot see from outside, where a
 * device's transfers go; and a stress of everything at once.  The refusals are tests/rules'.
 */
#include "iommufd_fixture.h"

/* ---- where transfers go ---- */

static void test_attach_and_detach(void **state)
{
	uint32_t ioas, pt;
	struct fixture f;

	up_bound(&f);
	assert_int_equal(read_at(&f, IOVA), -EFAULT);
	ioas = pt = ioas_alloc(&f);
	assert_int_equal(map_at(&f, ioas, IOVA, 0, 8192), 0);
	memcpy(f.tc.mem + 4096, "here", 4);
	assert_int_equal(read_at(&f, IOVA + 4096), -EFAULT);
	assert_int_equal(attach(&f, f.df, &pt), 0);
	assert_int_not_equal(pt, ioas);
	assert_int_equal(read_at(&f, IOVA + 4096), 0);
	assert_memory_equal(f.probe->buf, "here", 4);
	assert_int_equal(detach(&f, f.df), 0);
	assert_int_equal(read_at(&f, IOVA), -EFAULT);
	assert_int_equal(detach(&f, f.df), 0);
	down(&f);
}

static void test_replace(void **state)
{
	uint32_t a, b, pt, old;
	struct fixture f;

	up_bound(&f);
	a = old = ioas_alloc(&f);
	b = pt = ioas_alloc(&f);
	memcpy(f.tc.mem, "old ", 4);
	memcpy(f.tc.mem + 4096, "new ", 4);
	assert_int_equal(map_at(&f, a, IOVA, 0, 4096), 0);
	assert_int_equal(map_at(&f, b, IOVA, 4096, 4096), 0);
	assert_int_equal(attach(&f, f.df, &old), 0);
	assert_int_equal(read_at(&f, IOVA), 0);
	assert_memory_equal(f.probe->buf, "old ", 4);
	assert_int_equal(attach(&f, f.df, &pt), 0);
	assert_int_equal(read_at(&f, IOVA), 0);
	assert_memory_equal(f.probe->buf, "new ", 4);
	/* The automatic page table of the first went with its last device. */
	assert_int_equal(attach(&f, f.df, &old), -ENOENT);
	assert_int_equal(call(&f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, b}), -EBUSY);
	assert_int_equal(call(&f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, a}), 0);
	down(&f);
}

static void test_groups_move_together(void **state)
{
	struct vfio_device_file *second;
	uint32_t a, b, pa, pb;
	struct fixture f;

	up(&f, "probe,group=7", "probe,group=7");
	bind_cdev(&f, 0, &f.df);
	bind_cdev(&f, 1, &second);
	a = pa = ioas_alloc(&f);
	b = pb = ioas_alloc(&f);
	assert_int_equal(attach(&f, f.df, &pa), 0);
	assert_int_equal(attach(&f, second, &pb), -EINVAL);
	pb = a;
	assert_int_equal(attach(&f, second, &pb), 0);
	assert_int_equal(pa, pb);
	pb = b;
	assert_int_equal(attach(&f, second, &pb), 0);
	/* Nothing uses the first any more: both have moved. */
	assert_int_equal(call(&f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, a}), 0);
	vfio_device_release(second);
	assert_int_equal(call(&f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, b}), -EBUSY);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(call(&f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, b}), 0);
	down(&f);
}

/* A device keeps its iommufd, and what is mapped. */
static void test_iommufd_closed_first(void **state)
{
	struct fixture f;
	uint32_t pt;

	up_bound(&f);
	pt = ioas_alloc(&f);
	assert_int_equal(map_at(&f, pt, IOVA, 0, 4096), 0);
	assert_int_equal(attach(&f, f.df, &pt), 0);
	vfio_iommufd_release(the_iommufd);
	the_iommufd = NULL;
	assert_int_equal(read_at(&f, IOVA), 0);
	down(&f);
}

/* ---- memory ---- */

static void test_copy_shares(void **state)
{
	struct iommufd_copy c = {.size = sizeof(c), .flags = 7, .length = 8192};
	uint32_t a, b, pt;
	struct fixture f;
	uint64_t n;

	up_bound(&f);
	a = ioas_alloc(&f);
	b = pt = ioas_alloc(&f);
	assert_int_equal(attach(&f, f.df, &pt), 0);
	/* A slice over two areas. */
	assert_int_equal(map_at(&f, a, IOVA, 0, 8192), 0);
	assert_int_equal(map_at(&f, a, IOVA + 8192, 16384, 8192), 0);
	c.src_ioas_id = a;
	c.dst_ioas_id = b;
	c.src_iova = IOVA + 4096;
	c.dst_iova = 0x10000;
	assert_int_equal(call(&f, IOMMUFD_COPY, &c), 0);
	/* The memory stays when the source goes. */
	assert_int_equal(unmap(&f, a, 0, ~0ull, &n), 0);
	assert_int_equal(n, 16384);
	memcpy(f.tc.mem + 4096, "1st ", 4);
	memcpy(f.tc.mem + 16384, "2nd ", 4);
	assert_int_equal(read_at(&f, 0x10000), 0);
	assert_memory_equal(f.probe->buf, "1st ", 4);
	assert_int_equal(read_at(&f, 0x11000), 0);
	assert_memory_equal(f.probe->buf, "2nd ", 4);
	/* Each slice is an area. */
	assert_int_equal(unmap(&f, b, 0x10000, 4096, &n), 0);
	assert_int_equal(read_at(&f, 0x10000), -EFAULT);
	assert_int_equal(read_at(&f, 0x11000), 0);
	down(&f);
}

/* Memory that cannot be had is asked for again when a device comes. */
static void test_memory_comes_late(void **state)
{
	const uintptr_t bad = 8;
	struct iommufd_map m = {.size = sizeof(m),
				.flags = 7,
				.length = 4096,
				.iova = IOVA,
				.addr = bad & ~4095ull};
	struct fixture f;
	uint32_t pt, ioas;

	up_bound(&f);
	m.ioas_id = ioas = pt = ioas_alloc(&f);
	assert_int_equal(call(&f, IOMMUFD_MAP, &m), 0);
	assert_int_equal(attach(&f, f.df, &pt), -EFAULT);
	assert_int_equal(pt, ioas);
	assert_int_equal(unmap(&f, ioas, IOVA, 4096, NULL), 0);
	assert_int_equal(attach(&f, f.df, &pt), 0);
	assert_int_equal(call(&f, IOMMUFD_MAP, &m), -EFAULT);
	assert_int_equal(unmap(&f, ioas, IOVA, 4096, NULL), -ENOENT);
	down(&f);
}

static void test_map_file(void **state)
{
	struct iommufd_map_file m = {
		.size = sizeof(m), .flags = 7, .length = 4096, .start = 4096, .iova = IOVA};
	struct fixture f;
	uint32_t pt;

	up_bound(&f);
	m.ioas_id = pt = ioas_alloc(&f);
	assert_int_equal(attach(&f, f.df, &pt), 0);
	m.fd = f.tc.fd;
	assert_int_equal(call(&f, IOMMUFD_MAP_FILE, &m), 0);
	memcpy(f.tc.mem + 4096, "file", 4);
	assert_int_equal(read_at(&f, IOVA), 0);
	assert_memory_equal(f.probe->buf, "file", 4);
	down(&f);
}

/* ---- cutting, through the VFIO interface ---- */

static int vfio_unmap(struct fixture *f, uint64_t iova, uint64_t size, uint64_t *done)
{
	struct vfio_iommu_type1_dma_unmap u = {.argsz = sizeof(u), .iova = iova, .size = size};
	int ret = call(f, VFIO_IOMMU_UNMAP_DMA, &u);

	*done = u.size;
	return ret;
}

static void test_cut(void **state)
{
	struct iommufd_vfio_ioas set = {.size = sizeof(set), .op = IOMMUFD_VFIO_IOAS_SET};
	struct fixture f;
	uint64_t done;
	uint32_t pt;

	up_bound(&f);
	set.ioas_id = pt = ioas_alloc(&f);
	assert_int_equal(call(&f, IOMMUFD_VFIO_IOAS, &set), 0);
	assert_int_equal(
		vfio_iommufd_ioctl(the_iommufd, f.client, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	assert_int_equal(attach(&f, f.df, &pt), 0);
	assert_int_equal(map_at(&f, set.ioas_id, IOVA, 0, 65536), 0);
	memcpy(f.tc.mem + 0x8000, "tail", 4);
	memcpy(f.tc.mem + 0x3000, "head", 4);
	assert_int_equal(vfio_unmap(&f, IOVA + 0x4000, 0x4000, &done), 0);
	assert_int_equal(done, 0x4000);
	assert_int_equal(read_at(&f, IOVA + 0x8000), 0);
	assert_memory_equal(f.probe->buf, "tail", 4);
	assert_int_equal(read_at(&f, IOVA + 0x3000), 0);
	assert_memory_equal(f.probe->buf, "head", 4);
	assert_int_equal(read_at(&f, IOVA + 0x4000), -EFAULT);
	assert_int_equal(read_at(&f, IOVA + 0x7000), -EFAULT);
	assert_int_equal(unmap(&f, set.ioas_id, 0, ~0ull, &done), 0);
	assert_int_equal(done, 0xc000);
	down(&f);
}

/* ---- what takes a capability ---- */

static int set_rlimit_mode(struct fixture *f, uint64_t value)
{
	struct iommufd_option o = {.size = sizeof(o), .value = value};

	return call(f, IOMMUFD_OPTION, &o);
}

static void test_option_rlimit(void **state)
{
	struct iommufd_option get = {.size = sizeof(get), .op = IOMMUFD_OPTION_GET};
	struct fixture f;

	up(&f, "probe", NULL);
	assert_int_equal(set_rlimit_mode(&f, 1), -EPERM);
	f.tc.client.caps |= VFIO_CAP_SYS_RESOURCE;
	assert_int_equal(set_rlimit_mode(&f, 2), -EINVAL);
	assert_int_equal(set_rlimit_mode(&f, 1), 0);
	assert_int_equal(call(&f, IOMMUFD_OPTION, &get), 0);
	assert_int_equal(get.value, 1);
	ioas_alloc(&f);
	assert_int_equal(set_rlimit_mode(&f, 0), -EBUSY);
	down(&f);
}

/* ---- all at once ---- */

#define ROUNDS  200
#define THREADS 4

struct stress {
	struct fixture *f;
	uint32_t ioas[2];
	unsigned n;
};

/* Each has its own addresses; what it mapped is there until it unmaps it. */
static void *mapper(void *arg)
{
	const struct stress *s = arg;
	const uint64_t base = IOVA + s->n * 0x100000ull;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct iommufd_copy c = {.size = sizeof(c),
					 .flags = 7,
					 .dst_ioas_id = s->ioas[1],
					 .src_ioas_id = s->ioas[0],
					 .length = 4096,
					 .dst_iova = base + 0x10000,
					 .src_iova = base + 4096};
		uint64_t done;

		assert_int_equal(map_at(s->f, s->ioas[0], base, s->n * 16384, 16384), 0);
		assert_int_equal(call(s->f, IOMMUFD_COPY, &c), 0);
		assert_int_equal(unmap(s->f, s->ioas[0], base, 16384, &done), 0);
		assert_int_equal(done, 16384);
		assert_int_equal(unmap(s->f, s->ioas[1], base, 0x100000, &done), 0);
		assert_int_equal(done, 4096);
	}
	return NULL;
}

static void *mover(void *arg)
{
	const struct stress *s = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t pt = s->ioas[i & 1];

		assert_int_equal(attach(s->f, s->f->df, &pt), 0);
		if (i % 8 == 7)
			assert_int_equal(detach(s->f, s->f->df), 0);
	}
	return NULL;
}

static void test_all_at_once(void **state)
{
	pthread_t threads[THREADS + 1];
	struct stress s[THREADS + 1];
	struct fixture f;
	uint64_t done;

	up_bound(&f);
	s[0] = (struct stress){&f, {ioas_alloc(&f), ioas_alloc(&f)}, 0};
	for (unsigned i = 0; i <= THREADS; i++) {
		s[i] = s[0];
		s[i].n = i;
		assert_int_equal(
			pthread_create(&threads[i], NULL, i < THREADS ? mapper : mover, &s[i]), 0);
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		int ret = probe_command(&f, CMD_READ, IOVA + (i % THREADS) * 0x100000 + 4096, 4);

		assert_true(!ret || ret == -EFAULT || ret == -EPERM);
	}
	for (unsigned i = 0; i <= THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(unmap(&f, s[0].ioas[0], 0, ~0ull, &done), 0);
	assert_int_equal(done, 0);
	assert_int_equal(unmap(&f, s[0].ioas[1], 0, ~0ull, &done), 0);
	assert_int_equal(done, 0);
	down(&f);
}

/* ---- a client that sends anything ---- */

#define CALLS 20000

static uint64_t pick(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

/* Small ids, addresses that meet, sizes that are nearly right, now and then anything at all. */
static uint64_t any(struct fixture *f, uint64_t *seed)
{
	const uint64_t r = pick(seed);

	switch (r % 10) {
	case 0:
		return 0;
	case 1:
		return r % 16;
	case 2:
		return IOVA + (r >> 8) % 16 * 4096;
	case 3:
		return (uintptr_t)f->tc.mem + (r >> 8) % 8 * 4096;
	case 4:
		return (r >> 8) % 8 * 4096;
	case 5:
		return 0xfee00000 + (r >> 8) % 4096;
	case 6:
		return ~0ull - (r >> 8) % 4;
	case 7:
		return (uint64_t)f->tc.fd;
	case 8:
		return 7;
	default:
		return r << 16 | pick(seed);
	}
}

static __thread uint64_t sent[8]; /* the struct of the command under way */

static bool is_own(struct vfio_client *client, uint64_t at, size_t len)
{
	const uint64_t mem = (uintptr_t)((struct test_client *)client)->mem;

	return (at >= mem && at - mem <= CLIENT_MEM && len <= CLIENT_MEM - (at - mem)) ||
	       (at >= (uintptr_t)sent && at - (uintptr_t)sent <= sizeof(sent) &&
		len <= sizeof(sent) - (at - (uintptr_t)sent));
}

/* Of the test's own memory it gives what it means to give. */
static int own_copy_from(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len)
{
	return is_own(client, uaddr, len) ? client_copy_from(client, dst, uaddr, len) : -EFAULT;
}

static int own_copy_to(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len)
{
	return is_own(client, uaddr, len) ? client_copy_to(client, uaddr, src, len) : -EFAULT;
}

static void *send_anything(void *arg)
{
	const struct stress *s = arg;
	struct fixture *f = s->f;
	uint64_t seed = s->n + 1;

	for (unsigned i = 0; i < CALLS; i++) {
		const unsigned cmd = IOMMUFD_DESTROY + (unsigned)pick(&seed) % 22;
		uint64_t *words = sent;

		for (unsigned k = 0; k < 8; k++)
			words[k] = pick(&seed) & 1 ? any(f, &seed)
						   : (uint32_t)any(f, &seed) | any(f, &seed) << 32;
		words[0] = (8 + pick(&seed) % 57) | words[0] << 32;
		call(f, cmd, words);
		if (i % 64 == 0) {
			const struct vfio_cdev_attach at = {.argsz = 12,
							    .pt_id = (uint32_t)(pick(&seed) % 8)};

			memcpy(sent, &at, sizeof(at));
			vfio_device_ioctl(f->df, f->client, VFIO_CDEV_ATTACH, (uintptr_t)sent);
		}
		if (i % 256 == 0) {
			const struct vfio_cdev_detach from = {.argsz = 8};

			memcpy(sent, &from, sizeof(from));
			vfio_device_ioctl(f->df, f->client, VFIO_CDEV_DETACH, (uintptr_t)sent);
		}
	}
	return NULL;
}

static void test_anything(void **state)
{
	pthread_t threads[2];
	struct stress s[2];
	struct fixture f;
	unsigned left = 0;

	up_bound(&f);
	ops.copy_from = own_copy_from;
	ops.copy_to = own_copy_to;
	for (unsigned i = 0; i < 2; i++) {
		s[i] = (struct stress){&f, {0, 0}, i};
		assert_int_equal(pthread_create(&threads[i], NULL, send_anything, &s[i]), 0);
	}
	for (unsigned i = 0; i < ROUNDS; i++)
		probe_command(&f, i & 1 ? CMD_READ : CMD_WRITE, IOVA + i % 16 * 4096, 4);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* Whatever there is can be taken down: first what builds on others. */
	ops = client_ops;
	detach(&f, f.df);
	vfio_device_release(f.df);
	f.df = NULL;
	for (unsigned turn = 0; turn < 2; turn++)
		for (uint32_t id = 1; id <= 1024; id++)
			call(&f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, id});
	for (uint32_t id = 1; id <= 1024; id++)
		left += call(&f, IOMMUFD_DESTROY, &(struct iommufd_destroy){8, id}) != -ENOENT;
	assert_int_equal(left, 0);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attach_and_detach),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_groups_move_together),
		cmocka_unit_test(test_iommufd_closed_first),
		cmocka_unit_test(test_copy_shares),
		cmocka_unit_test(test_memory_comes_late),
		cmocka_unit_test(test_map_file),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_option_rlimit),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
