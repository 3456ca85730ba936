/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/sysfs: the tree and what its files do, asked as the kernel asks, by FUSE messages over a
 * socket, so that nothing has to be mounted.
 */
#include "req_util.h"
#include "sysfs_kernel.h"
#include "vfio/host.h"
#include "vfio/machine_private.h"

#define NAME  "0000:01:00.0"
#define OTHER "0000:02:00.0"

static void test_tree(void **state)
{
	struct fuse_entry_out entry;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,addr=0000:01:00.1");
	fixture_add(&f, "probe");
	up(&f, NULL);
	assert_true(walk("") > 150);
	assert_true(node_of("devices/" NAME "/vendor"));
	assert_int_equal(lookup(FUSE_ROOT_ID, "nothing", &entry), -ENOENT);
	down();
	up(&f, "below");
	assert_true(walk("") > 150);
	assert_true(node_of("devices/below/" NAME "/vendor"));
	down();
	fixture_close(&f);
}

/* Numbers that were never given out name nothing, or something that is there. */
static void test_numbers(void **state)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	struct fixture f;
	uint64_t seed = 88172645463325252ull;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	up(&f, NULL);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t node;
		int ret;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		node = i % 2 ? seed
			     : (seed % 30) << 56 | (seed >> 8 & 0x3ff) << 46 | (seed >> 20 & 3);
		if (!node)
			continue;
		ret = call(FUSE_GETATTR, node, &in, sizeof(in), NULL, 0, &out, sizeof(out));
		if (ret < 0)
			assert_int_equal(ret, -ENOENT);
		else
			assert_int_equal(out.attr.ino, node);
	}
	down();
	fixture_close(&f);
}

#define DIR_OF(name) "devices/" name "/"

static void test_values(void **state)
{
	char config[4097];
	struct fixture f;
	uint64_t fh;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	up(&f, NULL);
	assert_string_equal(show(DIR_OF(NAME) "driver_override"), "vfio-pci\n");
	assert_string_equal(show(DIR_OF(NAME) "enable"), "0\n");
	assert_string_equal(show("kernel/iommu_groups/1/type"), "DMA\n");
	assert_int_equal(strlen(show(DIR_OF(NAME) "resource")), 13 * 57);
	assert_int_equal(get_at(DIR_OF(NAME) "vendor", config, 3, 2), 3);
	assert_int_equal(get_at(DIR_OF(NAME) "vendor", config, 3, 100), 0);
	/* Whoever is neither root nor the owner sees the first bytes only. */
	assert_int_equal(get_at(DIR_OF(NAME) "config", config, 4096, 0), 4096);
	caller = 1000;
	assert_int_equal(get_at(DIR_OF(NAME) "config", config, 4096, 0), 4096);
	caller = 4711;
	assert_int_equal(get_at(DIR_OF(NAME) "config", config, 4096, 0), 64);
	assert_int_equal(put(DIR_OF(NAME) "enable", "1"), -EPERM);
	caller = 0;
	assert_int_equal(open_node(node_of(DIR_OF(NAME) "reset"), O_RDONLY, &fh), -EACCES);
	assert_int_equal(open_node(node_of(DIR_OF(NAME) "vendor"), O_RDWR, &fh), -EACCES);
	/* An I/O BAR takes single accesses, a memory BAR none. */
	assert_int_equal(get_at(DIR_OF(NAME) "resource4", config, 4, 0), 4);
	assert_int_equal(get_at(DIR_OF(NAME) "resource4", config, 3, 0), -EINVAL);
	assert_int_equal(get_at(DIR_OF(NAME) "resource0", config, 4, 0), -EIO);
	down();
	fixture_close(&f);
}

/* ---- binding ---- */

#define DRIVER "bus/pci/drivers/vfio-pci/"

/* An unbind waits for the user, answers nobody else later, and can be interrupted; what comes after
 * it on the same function waits for it. */
static void test_unbind_in_use(void **state)
{
	struct fuse_interrupt_in interrupt;
	struct vfio_group_file *gf;
	struct fuse_write_out out;
	uint64_t first, second, to;
	struct fixture f;
	int req = eventfd(0, EFD_CLOEXEC);

	fixture_machine(&f);
	f.machine->req_interval_ns = 1000000;
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	fixture_open(&f);
	set_req(&f, req);
	up(&f, NULL);
	assert_string_equal(show(DIR_OF(NAME) "enable"), "1\n");
	first = ask_put(DRIVER "unbind", NAME);
	for (unsigned i = 0; i < 3; i++)
		await(req);
	assert_true(quiet());
	/* Others, and other files of the same function, go on. */
	assert_int_equal(put(DRIVER "unbind", OTHER), strlen(OTHER));
	assert_int_equal(node_of(DIR_OF(OTHER) "driver"), 0);
	assert_true(strlen(show(DIR_OF(NAME) "vendor")) == 7);
	second = ask_put(DRIVER "bind", NAME);
	assert_int_equal(put(DRIVER "bind", OTHER), strlen(OTHER));
	assert_true(quiet());
	interrupt.unique = first;
	ask(FUSE_INTERRUPT, 0, &interrupt, sizeof(interrupt), NULL, 0);
	assert_int_equal(answer(&to, &out, sizeof(out)), -EINTR);
	assert_int_equal(to, first);
	/* It goes on all the same. */
	await(req);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(answer(&to, &out, sizeof(out)), sizeof(out));
	assert_int_equal(to, second);
	assert_true(node_of(DIR_OF(NAME) "driver"));

	assert_int_equal(put(DRIVER "unbind", NAME), strlen(NAME));
	assert_int_equal(put(DRIVER "unbind", NAME), -ENODEV);
	vfio_group_release(f.gf);
	assert_int_equal(vfio_group_open(f.machine, 1, &gf), -ENODEV);
	assert_int_equal(put("bus/pci/drivers_probe", NAME "\n"), strlen(NAME) + 1);
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	down();
	close(req);
	fixture_close(&f);
}

/* The door ends while somebody waits: EINTR, and the device is still to be given back. */
static void test_end(void **state)
{
	struct fuse_write_out out;
	uint64_t first, second, to[2];
	struct fixture f;
	int req = eventfd(0, EFD_CLOEXEC);

	fixture_up(&f, "probe");
	set_req(&f, req);
	up(&f, NULL);
	first = ask_put(DRIVER "unbind", NAME);
	await(req);
	second = ask_put(DIR_OF(NAME) "reset", "1");
	/* It has been read when the next one is answered. */
	assert_true(node_of(DIR_OF(NAME) "driver"));
	sysfs_free(sysfs);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(answer(&to[i], &out, sizeof(out)), -EINTR);
	assert_int_equal(to[0] + to[1], first + second);
	close(sock);
	close(req);
	fixture_close(&f);
}

/* A device that leaves the machine, also while it is being unbound, leaves the tree. */
static void test_gone(void **state)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out attr;
	struct fuse_write_out out;
	uint64_t first, to, node;
	struct uvfio_error err;
	struct fixture f;
	int req = eventfd(0, EFD_CLOEXEC), ret;

	fixture_up(&f, "probe");
	set_req(&f, req);
	up(&f, NULL);
	node = node_of(DIR_OF(NAME) "vendor");
	first = ask_put(DRIVER "unbind", NAME);
	await(req);
	assert_int_equal(
		vfio_machine_remove_device(f.machine, NAME, VFIO_REMOVE_WAIT, NULL, NULL, &err), 0);
	assert_int_equal(
		vfio_machine_remove_device(f.machine, NAME, VFIO_REMOVE_WAIT, NULL, NULL, &err),
		-EALREADY);
	vfio_device_release(f.df);
	f.df = NULL;
	ret = answer(&to, &out, sizeof(out));
	assert_int_equal(to, first);
	assert_int_equal(ret, sizeof(out));
	assert_int_equal(call(FUSE_GETATTR, node, &in, sizeof(in), NULL, 0, &attr, sizeof(attr)),
			 -ENOENT);
	assert_int_equal(node_of("devices/" NAME), 0);
	/* Another one in its place is another one. */
	fixture_add(&f, "probe,addr=" NAME ",group=1");
	assert_true(node_of(DIR_OF(NAME) "vendor"));
	assert_int_not_equal(node_of(DIR_OF(NAME) "vendor"), node);
	assert_string_equal(show(DIR_OF(NAME) "driver_override"), "vfio-pci\n");
	down();
	close(req);
	fixture_close(&f);
}

/* `remove` hides, a rescan finds again: without what the host knew. */
static void test_removed(void **state)
{
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	up(&f, NULL);
	assert_int_equal(put(DIR_OF(NAME) "reset_method", "\n"), 1);
	assert_int_equal(put(DIR_OF(NAME) "reset", "1"), -ENOTTY);
	assert_int_equal(put(DIR_OF(NAME) "remove", "1"), 1);
	assert_int_equal(node_of("devices/" NAME), 0);
	assert_true(walk("") > 30);
	assert_int_equal(put("bus/pci/drivers_probe", NAME), -ENODEV);
	assert_int_equal(put("bus/pci/rescan", "1"), 1);
	assert_string_equal(show(DIR_OF(NAME) "driver_override"), "(null)\n");
	assert_int_equal(node_of(DIR_OF(NAME) "driver"), 0);
	assert_int_equal(put(DIR_OF(NAME) "reset", "1"), 1);
	down();
	fixture_close(&f);
}

/* What can wait for one function is bounded. */
#define CROWD 2048u

static void test_crowd(void **state)
{
	uint64_t node, to, last_waiting = 0;
	struct fuse_write_in in = {.size = 1};
	struct fuse_write_out out;
	struct fixture f;
	int req = eventfd(0, EFD_CLOEXEC);

	fixture_up(&f, "probe");
	set_req(&f, req);
	up(&f, NULL);
	node = node_of(DIR_OF(NAME) "reset");
	ask_put(DRIVER "unbind", NAME);
	await(req);
	for (unsigned i = 0; i < CROWD; i++)
		last_waiting = ask(FUSE_WRITE, node, &in, sizeof(in), "1", 1);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t me = ask(FUSE_WRITE, node, &in, sizeof(in), "1", 1);

		assert_int_equal(answer(&to, &out, sizeof(out)), -EBUSY);
		assert_int_equal(to, me);
	}
	vfio_device_release(f.df);
	f.df = NULL;
	for (unsigned i = 0; i < CROWD + 1; i++)
		assert_int_equal(answer(&to, &out, sizeof(out)), sizeof(out));
	assert_int_equal(to, last_waiting);
	down();
	close(req);
	fixture_close(&f);
}

/* Who speaks to the socket is not trusted to be a kernel: what none sends ends the conversation. */
static void test_no_kernel(void **state)
{
	static const struct {
		uint32_t opcode;
		int32_t more; /* that the header says there is */
		size_t len;
		uint8_t body[64];
	} bad[] = {
		{FUSE_GETATTR, 0, 0, {0}},
		{FUSE_GETATTR, 1, 16, {0}},
		{FUSE_GETATTR, -1, 16, {0}},
		{FUSE_LOOKUP, 0, 0, {0}},
		{FUSE_LOOKUP, 0, 3, "abc"},
		{FUSE_SYMLINK, 0, 4, "abc"},
		{FUSE_RENAME2, 0, 18, {[16] = 'a'}},
		{FUSE_WRITE, 0, 39, {0}},
		{FUSE_WRITE, 0, 44, {[16] = 5}},
		{FUSE_WRITE, 0, 44, {[16] = 0xff, 0xff, 0xff, 0xff}},
		{FUSE_BATCH_FORGET, 0, 24, {2}},
		{FUSE_BATCH_FORGET, 0, 24, {0xff, 0xff, 0xff, 0xff}},
		{FUSE_POLL, 0, 23, {0}},
		{FUSE_NOTIFY_REPLY, 0, 40, {0}},
		{4096, 0, 64, {0}}, /* CUSE */
		{77777, 0, 0, {0}},
	};
	uint8_t packet[sizeof(struct fuse_in_header) + 64];
	struct fixture f;

	fixture_up(&f, "probe");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fuse_in_header head = {
			.len = (uint32_t)(sizeof(head) + bad[i].len + (unsigned)bad[i].more),
			.opcode = bad[i].opcode,
			.unique = 1000,
			.nodeid = FUSE_ROOT_ID,
		};

		up(&f, NULL);
		memcpy(packet, &head, sizeof(head));
		memcpy(packet + sizeof(head), bad[i].body, bad[i].len);
		assert_int_equal(send(sock, packet, sizeof(head) + bad[i].len, 0),
				 sizeof(head) + bad[i].len);
		assert_int_equal(recv(sock, packet, sizeof(packet), 0), 0);
		down();
	}
	up(&f, NULL);
	assert_int_equal(send(sock, packet, sizeof(struct fuse_in_header) - 1, 0),
			 sizeof(struct fuse_in_header) - 1);
	assert_int_equal(recv(sock, packet, sizeof(packet), 0), 0);
	down();
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),      cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_values),    cmocka_unit_test(test_unbind_in_use),
		cmocka_unit_test(test_end),       cmocka_unit_test(test_gone),
		cmocka_unit_test(test_removed),   cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_no_kernel),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
