/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/iommufd_locked.c and src/iommu/ioas_locked.c: whose locked memory what is mapped is. */
#include "iommu/account.h"
#include "iommufd_fixture.h"

#define P 4096u

static uint64_t limit;
static struct iommu_account *process; /* the client's, of an iommufd with RLIMIT_MODE */
static struct vfio_who who;

static uint64_t lock_limit(void *client)
{
	return limit;
}

static struct iommu_account *account(void *client)
{
	iommu_account_ref(process);
	return process;
}

static void be_user(struct fixture *f, int64_t uid, uint64_t may_lock)
{
	who.uid = uid;
	f->tc.client.who = &who;
	limit = may_lock;
}

/* @nr devices that can be given to an iommufd each. */
static void up_locked(struct fixture *f, unsigned nr)
{
	up(f, "probe", nr > 1 ? "probe" : NULL);
	ops.memory.lock_limit = lock_limit;
	be_user(f, 1000, 2 * P);
}

/* An IOAS of the_iommufd with device @number. */
static uint32_t ioas_of(struct fixture *f, unsigned number, struct vfio_device_file **df)
{
	uint32_t ioas, pt;

	bind_cdev(f, number, df);
	ioas = pt = ioas_alloc(f);
	assert_int_equal(attach(f, *df, &pt), 0);
	return ioas;
}

static int map_file(struct fixture *f, uint32_t ioas, uint64_t iova, uint64_t len)
{
	struct iommufd_map_file m = {.size = sizeof(m),
				     .flags = 7,
				     .ioas_id = ioas,
				     .fd = memfd_create("locked", MFD_CLOEXEC),
				     .length = len,
				     .iova = iova};
	int ret;

	assert_true(m.fd >= 0);
	assert_int_equal(ftruncate(m.fd, (off_t)len), 0);
	ret = call(f, IOMMUFD_MAP_FILE, &m);
	close(m.fd);
	return ret;
}

static int change_process(struct fixture *f)
{
	struct iommufd_change_process c = {.size = sizeof(c)};

	return call(f, IOMMUFD_CHANGE_PROCESS, &c);
}

/* By default a user has one account, whatever the iommufd. */
static void test_user(void **state)
{
	struct vfio_device_file *second;
	struct vfio_iommufd *first;
	struct fixture f;
	uint32_t a, b;

	up_locked(&f, 2);
	a = ioas_of(&f, 0, &f.df);
	first = the_iommufd;
	assert_int_equal(vfio_iommufd_open(f.machine, &the_iommufd), 0);
	b = ioas_of(&f, 1, &second);
	assert_int_equal(map_at(&f, b, IOVA, 0, P), 0);
	assert_int_equal(map_at(&f, b, IOVA + P, P, 2 * P), -ENOMEM);
	assert_int_equal(map_at(&f, b, IOVA + P, P, P), 0);
	be_user(&f, 1001, 2 * P);
	assert_int_equal(map_at(&f, b, IOVA + 2 * P, 0, P), 0);
	be_user(&f, 1002, UINT64_MAX); /* CAP_IPC_LOCK */
	assert_int_equal(map_at(&f, b, IOVA + 3 * P, 0, 8 * P), 0);
	be_user(&f, 1000, 2 * P);
	vfio_device_release(second);
	vfio_iommufd_release(the_iommufd);
	the_iommufd = first;
	/* What the other had is free. */
	assert_int_equal(map_at(&f, a, IOVA, 0, 2 * P), 0);
	assert_int_equal(map_at(&f, a, IOVA + 2 * P, 0, P), -ENOMEM);
	assert_int_equal(unmap(&f, a, IOVA, 2 * P, NULL), 0);
	assert_int_equal(map_at(&f, a, IOVA + 2 * P, 0, P), 0);
	down(&f);
}

static void test_process(void **state)
{
	struct iommufd_option o = {.size = sizeof(o), .value = 1};
	struct fixture f;
	uint32_t a;

	process = iommu_account_new(1);
	assert_non_null(process);
	up_locked(&f, 1);
	ops.memory.account = account;
	f.tc.client.caps |= VFIO_CAP_SYS_RESOURCE;
	assert_int_equal(call(&f, IOMMUFD_OPTION, &o), 0);
	a = ioas_of(&f, 0, &f.df);
	assert_true(iommu_account_charge(process, P, UINT64_MAX)); /* as type 1 would */
	assert_int_equal(map_at(&f, a, IOVA, 0, 2 * P), -ENOMEM);
	assert_int_equal(map_at(&f, a, IOVA, 0, P), 0);
	assert_int_equal(iommu_account_locked(process), 2 * P);
	assert_int_equal(unmap(&f, a, IOVA, P, NULL), 0);
	assert_int_equal(iommu_account_locked(process), P);
	iommu_account_refund(process, P);
	down(&f);
	assert_true(iommu_account_unused(process));
	iommu_account_unref(process);
}

static void test_change_process(void **state)
{
	struct iommufd_copy c = {.size = sizeof(c),
				 .flags = 7,
				 .length = 2 * P,
				 .dst_iova = IOVA + 16 * P,
				 .src_iova = IOVA};
	struct fixture f;
	uint32_t a;

	up_locked(&f, 1);
	a = c.src_ioas_id = ioas_of(&f, 0, &f.df);
	c.dst_ioas_id = ioas_alloc(&f);
	assert_int_equal(map_file(&f, a, IOVA, 2 * P), 0);
	assert_int_equal(call(&f, IOMMUFD_COPY, &c), 0);
	assert_int_equal(change_process(&f), 0);
	be_user(&f, 1001, P);
	assert_int_equal(change_process(&f), -ENOMEM);
	be_user(&f, 1000, 2 * P);
	assert_int_equal(map_file(&f, a, IOVA + 2 * P, P), -ENOMEM);
	/* What two IOASs have is counted once. */
	be_user(&f, 1001, 3 * P);
	assert_int_equal(change_process(&f), 0);
	assert_int_equal(change_process(&f), 0);
	assert_int_equal(map_file(&f, a, IOVA + 2 * P, 2 * P), -ENOMEM);
	assert_int_equal(map_file(&f, a, IOVA + 2 * P, P), 0);
	be_user(&f, 1000, 2 * P);
	assert_int_equal(map_at(&f, a, IOVA + 4 * P, 0, 2 * P), 0);
	/* Memory that is of no file stays whose it is, and so does all. */
	be_user(&f, 1002, 8 * P);
	assert_int_equal(change_process(&f), -EINVAL);
	be_user(&f, 1001, 3 * P);
	assert_int_equal(map_file(&f, a, IOVA + 8 * P, P), -ENOMEM);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_change_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
