/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA_MAP with the fd of a region (D.4): of another device of the server, of its own, and of a
 * device of another server.
 */
#include "wire_p2p.h"

/* Into the other device's memory and back, while that comes and goes. */
static void other_device(void **state)
{
	uint64_t offset, size;
	struct pair p;
	char got[16];
	int file;

	up(&p);
	file = region_file(p.fd[1], &offset);
	assert_int_equal(client_map(p.fd[0], IOVA, 16384, file, offset), EFAULT); /* beyond it */
	assert_int_equal(client_map(p.fd[0], IOVA, 4096, file, 0), EFAULT);
	assert_int_equal(client_map(p.fd[0], IOVA, 8192, file, offset), 0);
	strcpy((char *)p.dev[0]->data, "to the other");
	assert_int_equal(transfer(&p, IOVA + 4090, 13, 2), 0);
	assert_int_equal(client_read(p.fd[1], 2, 4090, got, 13), 0);
	assert_string_equal(got, "to the other");
	memset(p.dev[0]->data, 0, 16);
	assert_int_equal(transfer(&p, IOVA + 4090, 13, 1), 0);
	assert_string_equal((char *)p.dev[0]->data, "to the other");

	decode(&p, false);
	strcpy((char *)p.dev[0]->data, "not to land!");
	assert_int_equal(transfer(&p, IOVA + 4090, 13, 2), EIO);
	assert_int_equal(client_map(p.fd[0], 2 * IOVA, 8192, file, offset), EFAULT);
	decode(&p, true);
	assert_int_equal(client_read(p.fd[1], 2, 4090, got, 13), 0);
	assert_string_equal(got, "to the other");
	assert_int_equal(transfer(&p, IOVA, 13, 2), 0);

	/* Whose it is has gone: for good, also when another comes. */
	close(p.fd[1]);
	open_one(&p, 1);
	assert_int_equal(transfer(&p, IOVA, 13, 2), EIO);
	assert_int_equal(client_map(p.fd[0], 2 * IOVA, 8192, file, offset), EFAULT);
	assert_int_equal(client_unmap(p.fd[0], IOVA, 8192, 0, &size), 0);
	assert_int_equal(size, 8192);
	close(file);
	down(&p);
}

/* The memory of a device that stands still can be mapped, and works when it runs (D.4.50). */
static void stands_still(void **state)
{
	enum { STOP = 1, RUNNING };
	uint64_t offset, size;
	struct pair p;
	char got[16];
	int file;

	up(&p);
	file = region_file(p.fd[1], &offset);
	move_to(&p, STOP);
	decode(&p, false);
	assert_int_equal(client_map(p.fd[0], IOVA, 8192, file, offset), 0);
	strcpy((char *)p.dev[0]->data, "not to land!");
	for (unsigned decodes = 0; decodes < 2; decodes++) {
		decode(&p, decodes);
		assert_int_equal(transfer(&p, IOVA + 4090, 13, 2), EIO);
	}
	assert_int_equal(client_map(p.fd[0], 2 * IOVA, 8192, file, offset), 0);
	assert_int_equal(client_unmap(p.fd[0], 2 * IOVA, 8192, 0, &size), 0);
	move_to(&p, RUNNING);
	assert_int_equal(client_read(p.fd[1], 2, 4090, got, 13), 0);
	assert_int_equal(got[0], 0);
	strcpy((char *)p.dev[0]->data, "to the other");
	assert_int_equal(transfer(&p, IOVA + 4090, 13, 2), 0);
	assert_int_equal(client_read(p.fd[1], 2, 4090, got, 13), 0);
	assert_string_equal(got, "to the other");
	assert_int_equal(client_unmap(p.fd[0], IOVA, 8192, 0, &size), 0);
	close(file);
	down(&p);
}

/* What the fd was opened for is what may be done. */
static void rights(void **state)
{
	struct vfio_user_dma_map map = {sizeof(map), VFIO_USER_DMA_MAP_READ, 0, IOVA, 8192};
	static struct reply r;
	uint64_t offset;
	struct pair p;
	char name[64];
	int file, reading;

	up(&p);
	file = region_file(p.fd[1], &offset);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", file);
	reading = open(name, O_RDONLY | O_CLOEXEC);
	assert_true(reading >= 0);
	assert_int_equal(client_map(p.fd[0], IOVA, 8192, reading, offset), EFAULT);
	map.offset = offset;
	assert_int_equal(
		client_call(p.fd[0], VFIO_USER_DMA_MAP, &map, sizeof(map), &reading, 1, &r), 0);
	assert_int_equal(client_write(p.fd[1], 2, 8, "read me", 8), 0);
	assert_int_equal(transfer(&p, IOVA + 8, 8, 1), 0);
	assert_string_equal((char *)p.dev[0]->data, "read me");
	assert_int_equal(transfer(&p, IOVA + 8, 8, 2), EFAULT);
	close(reading);
	close(file);
	down(&p);
}

static void own_memory(void **state)
{
	uint64_t offset;
	struct pair p;
	char got[8];
	int file;

	up(&p);
	file = region_file(p.fd[0], &offset);
	assert_int_equal(client_map(p.fd[0], IOVA, 8192, file, offset), 0);
	strcpy((char *)p.dev[0]->data, "to me");
	assert_int_equal(transfer(&p, IOVA, 6, 2), 0);
	assert_int_equal(client_read(p.fd[0], 2, 0, got, 6), 0);
	assert_string_equal(got, "to me");
	close(file);
	down(&p);
}

/* Of another server's device the pages are shared memory like any other. */
static void other_server(void **state)
{
	struct wire_fixture other;
	uint64_t offset;
	struct pair p;
	int file, fd;
	char *view;

	up(&p);
	wire_up(&other);
	fd = client_open(&other);
	client_enable(fd);
	file = region_file(fd, &offset);
	assert_int_equal(client_map(p.fd[0], IOVA, 8192, file, offset), 0);
	strcpy((char *)p.dev[0]->data, "a page");
	assert_int_equal(transfer(&p, IOVA, 7, 2), 0);
	view = mmap(NULL, 8192, PROT_READ, MAP_SHARED, file, (off_t)offset);
	assert_ptr_not_equal(view, MAP_FAILED);
	assert_string_equal(view, "a page");
	munmap(view, 8192);
	close(file);
	close(fd);
	wire_down(&other);
	down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_device), cmocka_unit_test(stands_still),
		cmocka_unit_test(rights),       cmocka_unit_test(own_memory),
		cmocka_unit_test(other_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
