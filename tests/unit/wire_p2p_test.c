/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA_MAP with the fd of a region (D.4): of another device of the server, of its own, and of a
 * device of another server.
 */
#include "wire_util.h"

#define IOVA 0x100000ull

struct pair {
	struct wire_fixture f;
	struct wire_listener *listener[2];
	struct wdev *dev[2];
	int fd[2];
};

/* What GET_REGION_INFO of BAR 2 gives: the file; *@offset in it. */
static int region_file(int fd, uint64_t *offset)
{
	struct {
		struct vfio_region_info info;
		uint8_t room[256];
	} req = {.info = {.argsz = sizeof(req), .index = 2}};
	static struct reply r;

	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_GET_REGION_INFO, &req, sizeof(req.info),
				     NULL, 0, &r),
			 0);
	memcpy(&req.info, r.payload, sizeof(req.info));
	assert_true(r.fd >= 0);
	*offset = req.info.offset;
	return r.fd;
}

static void open_one(struct pair *p, unsigned n)
{
	p->f.listener = p->listener[n];
	p->fd[n] = client_open(&p->f);
	client_enable(p->fd[n]);
}

static void up(struct pair *p)
{
	struct wire_options options;
	struct uvfio_error err = {""};

	memset(p, 0, sizeof(*p));
	wire_up(&p->f);
	p->listener[0] = p->f.listener;
	p->dev[0] = p->f.dev;
	assert_int_equal(vfio_machine_add_device(p->f.machine, "wdev", &err), 0);
	p->dev[1] = wdev_last;
	wire_options_default(&options);
	assert_int_equal(
		wire_listen(p->f.server, "0000:02:00.0", -1, &options, &p->listener[1], &err), 0);
	open_one(p, 0);
	open_one(p, 1);
}

static void down(struct pair *p)
{
	for (unsigned n = 0; n < 2; n++)
		close(p->fd[n]);
	wire_down(&p->f);
}

/* Device 0 transfers: its status. */
static int transfer(struct pair *p, uint64_t iova, uint32_t len, uint32_t cmd)
{
	uint32_t done = client_get(p->fd[0], W_DONE);

	client_put(p->fd[0], W_IOVA, iova, 8);
	client_put(p->fd[0], W_LEN, len, 4);
	client_put(p->fd[0], W_CMD, cmd, 4);
	while (client_get(p->fd[0], W_DONE) == done)
		;
	return (int)client_get(p->fd[0], W_STATUS);
}

static void decode(struct pair *p, bool on)
{
	uint16_t command = PCI_COMMAND_MASTER | (on ? PCI_COMMAND_MEMORY : 0);

	assert_int_equal(
		client_write(p->fd[1], VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2), 0);
}

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
		cmocka_unit_test(other_device),
		cmocka_unit_test(rights),
		cmocka_unit_test(own_memory),
		cmocka_unit_test(other_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
