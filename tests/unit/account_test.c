/* SPDX-License-Identifier: BSD-3-Clause */
/* Whose locked memory a type 1 mapping is (D.2), and which memory the policy takes. */
#include "vfio_fixture.h"
#include "iommu/account.h"
#include "iommu/peer.h"
#include "iommu/type1_private.h"

#define P 0x1000ull
#define R VFIO_DMA_MAP_FLAG_READ
#define V VFIO_DMA_MAP_FLAG_VADDR

#ifdef UVFIO_UNSAFE
static const bool with_unsafe = true;
#else
static const bool with_unsafe = false;
#endif

/* ---- a client whose memory is a memfd; of a process that is as is told here ---- */

struct payer {
	int fd, ret;
	struct iommu_account *account; /* NULL: none is to be had */
	uint64_t limit;
	struct iommu_peer *peer; /* of the second page, if set */
};

static int import(void *arg, uint64_t vaddr, uint64_t size, unsigned prot, struct iommu_mem **mem,
		  unsigned *nr)
{
	struct payer *p = arg;

	if (p->ret)
		return p->ret;
	*mem = calloc(2, sizeof(**mem));
	assert_non_null(*mem);
	*nr = p->peer ? 2 : 1;
	(*mem)[0] = (struct iommu_mem){.kind = IOMMU_MEM_FILE,
				       .fd = p->fd,
				       .offset = vaddr,
				       .len = p->peer ? P : size,
				       .file_id = {1, 1},
				       .page = P};
	(*mem)[1] = (struct iommu_mem){.kind = IOMMU_MEM_PEER, .len = size - P, .peer = p->peer};
	return 0;
}

static void release(void *arg, struct iommu_mem *mem, unsigned nr)
{
	free(mem);
}

static uint64_t lock_limit(void *arg)
{
	return ((struct payer *)arg)->limit;
}

static struct iommu_account *account(void *arg)
{
	struct payer *p = arg;

	if (p->account)
		iommu_account_ref(p->account);
	return p->account;
}

static const struct type1_memory_ops ops = {
	.import = import, .release = release, .lock_limit = lock_limit, .account = account};

static int map(struct type1 *t1, struct payer *p, uint32_t flags, uint64_t iova, uint64_t pages)
{
	struct vfio_iommu_type1_dma_map req = {32, flags, 0, iova * P, pages * P};

	return type1_map(t1, &req, &ops, p);
}

static int64_t unmap(struct type1 *t1, uint32_t flags, uint64_t iova, uint64_t pages)
{
	struct vfio_iommu_type1_dma_unmap req = {
		.argsz = 24, .flags = flags, .iova = iova * P, .size = pages * P};
	int ret = type1_unmap(t1, &req);

	return ret ? ret : (int64_t)(req.size / P);
}

static uint64_t locked(const struct payer *p)
{
	return iommu_account_locked(p->account) / P;
}

static void payers(struct payer *p, unsigned nr, uint64_t pages)
{
	int fd = memfd_create("account", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	for (unsigned i = 0; i < nr; i++) {
		p[i] = (struct payer){.fd = fd, .limit = pages * P};
		p[i].account = iommu_account_new(i + 1);
		assert_non_null(p[i].account);
	}
}

static void payers_free(struct payer *p, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		assert_int_equal(locked(&p[i]), 0);
		assert_true(iommu_account_unused(p[i].account));
		iommu_account_unref(p[i].account);
	}
	close(p[0].fd);
}

/* ---- tests ---- */

static void test_account(void **state)
{
	struct iommu_account *a = iommu_account_new(7);

	assert_int_equal(iommu_account_id(a), 7);
	assert_true(iommu_account_charge(a, 10, 10));
	assert_false(iommu_account_charge(a, 1, 10));
	/* A limit that went down. */
	assert_false(iommu_account_charge(a, 1, 5));
	assert_true(iommu_account_charge(a, 0, 5));
	assert_false(iommu_account_charge(a, UINT64_MAX, UINT64_MAX));
	assert_true(iommu_account_charge(a, UINT64_MAX - 10, UINT64_MAX));
	iommu_account_refund(a, UINT64_MAX);
	assert_int_equal(iommu_account_locked(a), 0);
	iommu_account_ref(a);
	assert_false(iommu_account_unused(a));
	iommu_account_unref(a);
	iommu_account_unref(a);
	iommu_account_unref(NULL);
}

/* The same process in two containers, and two processes in one. */
static void test_shared(void **state)
{
	struct type1 *a = type1_new(true, 100), *b = type1_new(false, 100);
	struct payer p[2];

	payers(p, 2, 6);
	assert_int_equal(map(a, &p[0], R, 0, 4), 0);
	assert_int_equal(map(b, &p[0], R, 0, 3), -ENOMEM);
	assert_int_equal(map(b, &p[0], R, 0, 2), 0);
	assert_int_equal(map(b, &p[1], R, 16, 6), 0);
	assert_int_equal(map(b, &p[1], R, 32, 1), -ENOMEM);
	assert_int_equal(locked(&p[0]), 6);
	assert_int_equal(type1_entries_available(b), 98);
	/* Each gets back what is its own; of version 1 also what only begins in the range. */
	assert_int_equal(unmap(b, 0, 0, 17), 8);
	assert_int_equal(locked(&p[0]), 4);
	assert_int_equal(locked(&p[1]), 0);
	assert_int_equal(map(b, &p[0], R, 0, 2), 0);
	assert_int_equal(unmap(a, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0), 4);
	assert_int_equal(locked(&p[0]), 2);
	/* What fails is not charged, nor is who may lock what it likes. */
	assert_int_equal(unmap(a, 0, 0, 4), 0);
	p[0].ret = -EFAULT;
	assert_int_equal(map(a, &p[0], R, 0, 1), -EFAULT);
	p[0].ret = 0;
	assert_int_equal(locked(&p[0]), 2);
	p[1].limit = UINT64_MAX;
	assert_int_equal(map(a, &p[1], R, 0, 100), 0);
	assert_int_equal(locked(&p[1]), 0);
	/* A container that goes takes along what is charged. */
	type1_free(a);
	type1_free(b);
	payers_free(p, 2);
}

static void test_without_account(void **state)
{
	struct type1 *t1 = type1_new(true, 100);
	struct payer p[1];
	struct iommu_account *kept;

	payers(p, 1, 2);
	kept = p[0].account;
	p[0].account = NULL;
	assert_int_equal(map(t1, &p[0], R, 0, 1), -ENOMEM);
	assert_int_equal(type1_entries_available(t1), 100);
	p[0].account = kept;
	assert_int_equal(map(t1, &p[0], R, 0, 1), 0);
	type1_free(t1);
	payers_free(p, 1);
}

static void test_moves(void **state)
{
	struct type1 *t1 = type1_new(true, 100);
	struct payer p[2];

	payers(p, 2, 4);
	assert_int_equal(map(t1, &p[0], R, 0, 4), 0);
	assert_int_equal(unmap(t1, VFIO_DMA_UNMAP_FLAG_VADDR, 0, 4), 4);
	assert_int_equal(locked(&p[0]), 4);
	/* Back to the same process, which is full with it. */
	assert_int_equal(map(t1, &p[0], V, 0, 4), 0);
	assert_int_equal(locked(&p[0]), 4);
	/* To another that has no room: the mapping stays without an address. */
	assert_int_equal(unmap(t1, VFIO_DMA_UNMAP_FLAG_VADDR, 0, 4), 4);
	p[1].limit = 3 * P;
	assert_int_equal(map(t1, &p[1], V, 0, 4), -ENOMEM);
	assert_int_equal(locked(&p[0]), 4);
	assert_int_equal(locked(&p[1]), 0);
	assert_true(type1_vaddr_invalid(t1));
	p[1].limit = 4 * P;
	assert_int_equal(map(t1, &p[1], V, 0, 4), 0);
	assert_int_equal(locked(&p[0]), 0);
	assert_int_equal(locked(&p[1]), 4);
	/* The address is nothing: it keeps its memory, and moves. */
	assert_int_equal(unmap(t1, VFIO_DMA_UNMAP_FLAG_VADDR, 0, 4), 4);
	p[0].ret = -EFAULT;
	assert_int_equal(map(t1, &p[0], V, 0, 4), 0);
	assert_int_equal(locked(&p[0]), 4);
	assert_int_equal(locked(&p[1]), 0);
	/* To one that nobody counts. */
	assert_int_equal(unmap(t1, VFIO_DMA_UNMAP_FLAG_VADDR, 0, 4), 4);
	p[1].limit = UINT64_MAX;
	assert_int_equal(map(t1, &p[1], V, 0, 4), 0);
	assert_int_equal(locked(&p[0]), 0);
	assert_int_equal(unmap(t1, 0, 0, 4), 4);
	type1_free(t1);
	payers_free(p, 2);
}

#define MANY 256u

static void test_many(void **state)
{
	struct type1 *t1 = type1_new(true, 2 * MANY);
	struct payer p[MANY];

	payers(p, MANY, 1);
	for (unsigned i = 0; i < MANY - 1; i++)
		assert_int_equal(map(t1, &p[i], R, i, 1), 0);
	assert_int_equal(map(t1, &p[MANY - 1], R, MANY, 1), -ENOMEM);
	assert_int_equal(locked(&p[MANY - 1]), 0);
	/* One that has nothing any more makes room. */
	assert_int_equal(unmap(t1, 0, 7, 1), 1);
	assert_int_equal(map(t1, &p[MANY - 1], R, MANY, 1), 0);
	assert_int_equal(map(t1, &p[7], R, 7, 1), -ENOMEM);
	type1_free(t1);
	payers_free(p, MANY);
}

static int never(struct iommu_peer *peer, struct iommu_peer_msg *msg)
{
	return -EIO;
}

static void no_cancel(struct iommu_peer *peer, struct iommu_peer_msg *msg)
{
}

static void released(struct iommu_peer *peer)
{
}

/* Devices' memory is not locked memory. */
static void test_device_memory(void **state)
{
	static const struct iommu_peer_ops peer_ops = {never, no_cancel, released};
	struct type1 *t1 = type1_new(true, 100);
	struct iommu_peer peer;
	struct payer p[1];

	payers(p, 1, 1);
	iommu_peer_init(&peer, &peer_ops, 4096, 1);
	p[0].peer = &peer;
	assert_int_equal(map(t1, &p[0], R, 0, 64), 0);
	assert_int_equal(locked(&p[0]), 1);
	assert_int_equal(map(t1, &p[0], R, 64, 64), -ENOMEM);
	assert_int_equal(unmap(t1, 0, 0, 64), 64);
	assert_int_equal(locked(&p[0]), 0);
	type1_free(t1);
	iommu_peer_unref(&peer);
	payers_free(p, 1);
}

static int bitmap_io_read(void *client, void *dst, uint64_t uaddr, size_t len)
{
	memcpy(dst, (void *)(uintptr_t)uaddr, len);
	return 0;
}

static int bitmap_io_write(void *client, uint64_t uaddr, const void *src, size_t len)
{
	memcpy((void *)(uintptr_t)uaddr, src, len);
	return 0;
}

/* UNMAP with a bitmap gives back, too. */
static void test_dirty(void **state)
{
	const struct iommu_bitmap_io io = {bitmap_io_read, bitmap_io_write, NULL};
	struct vfio_iommu_type1_dirty_bitmap start = {8, VFIO_IOMMU_DIRTY_PAGES_FLAG_START};
	struct type1 *t1 = type1_new(true, 100);
	uint64_t word = 0;
	struct vfio_bitmap bitmap = {.pgsize = P, .size = 8, .data = (void *)&word};
	struct vfio_iommu_type1_dma_unmap req = {.argsz = 24 + sizeof(bitmap),
						 .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
						 .size = 4 * P};
	struct payer p[1];

	payers(p, 1, 4);
	assert_int_equal(map(t1, &p[0], R, 0, 4), 0);
	assert_int_equal(type1_dirty_pages(t1, (uintptr_t)&start, &io), 0);
	assert_int_equal(type1_unmap_bitmap(t1, &req, &bitmap, &io), 0);
	assert_int_equal(word, 0xf);
	assert_int_equal(locked(&p[0]), 0);
	type1_free(t1);
	payers_free(p, 1);
}

/* Two containers, and in each two threads of the same two processes. */

struct racer {
	struct type1 *t1;
	struct payer *payers;
	uint64_t first;
	unsigned refused;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < 2000; i++) {
		struct payer *p = &r->payers[i % 2];
		uint64_t at = r->first + i % 4 * 2;
		int ret = map(r->t1, p, R, at, 2);

		assert_true(ret == 0 || ret == -ENOMEM);
		r->refused += ret != 0;
		if (!ret && i % 3 == 0) {
			assert_int_equal(unmap(r->t1, VFIO_DMA_UNMAP_FLAG_VADDR, at, 2), 2);
			ret = map(r->t1, &r->payers[(i + 1) % 2], V, at, 2);
			assert_true(ret == 0 || ret == -ENOMEM);
		}
		assert_true(unmap(r->t1, 0, at, 2) >= 0);
		assert_true(locked(p) <= 5);
	}
	return NULL;
}

static void test_race(void **state)
{
	struct type1 *t1[2] = {type1_new(true, 100), type1_new(true, 100)};
	struct racer racers[4];
	pthread_t threads[4];
	struct payer p[2];

	payers(p, 2, 5);
	for (unsigned i = 0; i < 4; i++) {
		racers[i] = (struct racer){t1[i % 2], p, i * 16, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(locked(&p[0]), 0);
	assert_int_equal(locked(&p[1]), 0);
	type1_free(t1[0]);
	type1_free(t1[1]);
	payers_free(p, 2);
}

/* ---- strict_mmio_maps ---- */

static int import_unpinnable(void *client, uint64_t vaddr, uint64_t size, unsigned prot,
			     struct iommu_mem **mem, unsigned *nr)
{
	int ret = client_import(client, vaddr, size, prot, mem, nr);

	if (!ret)
		(*mem)->unpinnable = true;
	return ret;
}

static int map_unpinnable(struct fixture *f)
{
	static struct vfio_client_ops unpinnable;
	struct vfio_iommu_type1_dma_map req = {32, R, (uintptr_t)f->tc.mem, 0, P};

	unpinnable = client_ops;
	unpinnable.memory.import = import_unpinnable;
	f->client->ops = &unpinnable;
	return vfio_container_ioctl(f->container, f->client, VFIO_IOMMU_MAP_DMA, (uintptr_t)&req);
}

static void test_policy(void **state)
{
	struct vfio_policy policy;
	struct uvfio_error err = {""};
	struct fixture f;

	/* By default it is refused, and nothing is wrong with the machine. */
	fixture_up(&f, "probe");
	assert_int_equal(map_unpinnable(&f), -EFAULT);
	assert_int_equal(vfio_machine_taint(f.machine), 0);
	fixture_close(&f);

	vfio_policy_default(&policy);
	if (!with_unsafe) {
		assert_int_equal(vfio_policy_set(&policy, "strict_mmio_maps=N", &err), -EPERM);
		assert_non_null(strstr(err.msg, "-Dunsafe=disabled"));
		assert_true(policy.strict_mmio_maps);
		return;
	}
	assert_int_equal(vfio_policy_set(&policy, "strict_mmio_maps=N", &err), 0);
	fixture_machine_with(&f, &policy);
	fixture_add(&f, "probe");
	fixture_open(&f);
	assert_int_equal(vfio_machine_taint(f.machine), 0);
	assert_int_equal(map_unpinnable(&f), 0);
	assert_int_equal(vfio_machine_taint(f.machine), 1u << VFIO_TAINT_MMIO);
	assert_string_equal(vfio_taint_name(VFIO_TAINT_MMIO), "unsafe-mmio");
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_account),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_without_account),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_device_memory),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
