/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What sysfs has of PFs and VFs: files, links, and writes that wait for the users of VFs; asked as
 * the kernel asks.  The rules of what is written are vfio/sriov.h's; here is that they come
 * through.
 */
#include "sriov_fixture.h"
#include "sysfs_kernel.h"

#define DIR_OF(name) "devices/" name "/"
#define PF(file)     DIR_OF(PF_NAME) file
#define VF0          "0000:01:00.1"
#define WRITERS      1000u

static int put_number(const char *path, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	return put(path, text);
}

static bool there(const char *path)
{
	return node_of(path) != 0;
}

static void write_at(uint64_t node, const char *text, uint64_t *me)
{
	struct fuse_write_in in = {.size = (uint32_t)strlen(text)};

	*me = ask(FUSE_WRITE, node, &in, sizeof(in), text, strlen(text));
}

static int write_answer(uint64_t *to)
{
	struct fuse_write_out out;
	int ret = answer(to, &out, sizeof(out));

	return ret < 0 ? ret : (int)out.size;
}

/* ---- what there is ---- */

static void test_files(void **state)
{
	struct fixture f;
	char *line;

	sriov_up(&f, "pcitest,vfs=4,vf-pool=16");
	fixture_add(&f, "pcitest");
	up(&f, NULL);
	assert_string_equal(show(PF("sriov_totalvfs")), "4\n");
	assert_string_equal(show(PF("sriov_numvfs")), "0\n");
	assert_string_equal(show(PF("sriov_offset")), "1\n");
	assert_string_equal(show(PF("sriov_stride")), "1\n");
	assert_string_equal(show(PF("sriov_vf_device")), "5055\n");
	assert_string_equal(show(PF("sriov_drivers_autoprobe")), "1\n");
	assert_string_equal(show(PF("sriov_vf_total_msix")), "0\n");
	assert_false(there(PF("physfn")));
	assert_false(there(PF("virtfn0")));
	assert_false(there(PF("sriov_vf_msix_count")));
	assert_false(there("devices/0000:02:00.0/sriov_numvfs"));
	assert_int_equal(put(PF("sriov_numvfs"), "3\n"), 2);
	assert_string_equal(show(PF("sriov_numvfs")), "3\n");
	for (unsigned i = 0; i < 3; i++) {
		char path[64], target[32];

		snprintf(path, sizeof(path), "%svirtfn%u", DIR_OF(PF_NAME), i);
		snprintf(target, sizeof(target), "../0000:01:00.%u", i + 1);
		assert_string_equal(target_of(node_of(path)), target);
	}
	assert_false(there(PF("virtfn3")));
	assert_false(there(PF("virtfn00")));
	assert_false(there(PF("virtfn4294967296")));
	assert_string_equal(target_of(node_of(DIR_OF(VF0) "physfn")), "../" PF_NAME);
	assert_string_equal(show(DIR_OF(VF0) "vendor"), "0x1234\n");
	assert_string_equal(show(DIR_OF(VF0) "device"), "0x5055\n");
	assert_string_equal(show(DIR_OF(VF0) "driver_override"), "vfio-pci\n");
	assert_string_equal(show(DIR_OF(VF0) "irq"), "0\n");
	assert_false(there(DIR_OF(VF0) "sriov_numvfs"));
	assert_false(there(DIR_OF(VF0) "remove"));
	assert_false(there(DIR_OF(VF0) "rescan"));
	/* BAR 0 of four VFs, 16 KiB each, is the PF's eighth resource. */
	line = strdup(show(PF("resource")));
	for (unsigned i = 0; i < 7; i++)
		line = memmove(line, strchr(line, '\n') + 1, strlen(strchr(line, '\n') + 1) + 1);
	assert_int_equal(strtoull(line + 19, NULL, 16) - strtoull(line, NULL, 16), 4 * 16384 - 1);
	assert_int_equal(strtoull(line, NULL, 16),
			 strtoull(show(DIR_OF(VF0) "resource"), NULL, 16));
	free(line);
	assert_true(walk("") > 100);
	down();
	fixture_close(&f);
}

/* ---- what is written ---- */

static void test_numvfs(void **state)
{
	static const struct {
		const char *text;
		int ret;
	} cases[] = {
		{"abc", -EINVAL},   {"99999", -EINVAL}, {"-1", -EINVAL},    {" 2", -EINVAL},
		{"2 ", -EINVAL},    {"2x", -EINVAL},    {"2\n\n", -EINVAL}, {"\n", -EINVAL},
		{"0x", -EINVAL},    {"08", -EINVAL},    {"65536", -EINVAL}, {"5", -ERANGE},
		{"65535", -ERANGE}, {"0", 1},           {"00\n", 3},        {"0x2", 3},
		{"2\n", 2},         {"+2", 2},          {"02", 2},          {"3", -EBUSY},
		{"1", -EBUSY},      {"0x0\n", 4},       {"010", -ERANGE},   {"4", 1},
		{"0", 1},
	};
	struct fixture f;

	sriov_up(&f, "pcitest,vfs=4");
	up(&f, NULL);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (put(PF("sriov_numvfs"), cases[i].text) != cases[i].ret)
			fail_msg("'%s': not %d", cases[i].text, cases[i].ret);
	assert_int_equal(put("module/vfio_pci/parameters/enable_sriov", "N"), 1);
	assert_int_equal(put(PF("sriov_numvfs"), "1"), -ENOENT);
	assert_int_equal(put(PF("sriov_numvfs"), "0"), 1);
	assert_int_equal(put("bus/pci/drivers/vfio-pci/unbind", PF_NAME), strlen(PF_NAME));
	assert_int_equal(put(PF("sriov_numvfs"), "1"), -ENOENT);
	down();
	fixture_close(&f);
}

/* Drivers of a PF: who enables VFs, what they are bound to, who has a pool. */
static void test_drivers(void **state)
{
	struct fixture f;

	sriov_up(&f, "pcitest,vfs=4,vf-pool=16,vf-min-vectors=1");
	up(&f, NULL);
	assert_true(there("bus/pci/drivers/pcitest/bind"));
	assert_false(there("bus/pci/drivers/probe"));
	assert_int_equal(put("bus/pci/drivers/pcitest/unbind", PF_NAME), -ENODEV);
	assert_int_equal(put("bus/pci/drivers/vfio-pci/unbind", PF_NAME), strlen(PF_NAME));
	assert_int_equal(put("bus/pci/drivers/pcitest/bind", PF_NAME), -ENODEV);
	assert_int_equal(put(PF("driver_override"), "\n"), 1);
	assert_int_equal(put("bus/pci/drivers_probe", PF_NAME), strlen(PF_NAME));
	assert_false(there(PF("driver"))); /* by itself it takes nothing */
	assert_int_equal(put("bus/pci/drivers/pci-pf-stub/bind", PF_NAME), -ENODEV);
	assert_int_equal(put("bus/pci/drivers/pcitest/new_id", "1234 5054"), -EEXIST);
	assert_int_equal(put("bus/pci/drivers/pcitest/bind", PF_NAME), strlen(PF_NAME));
	assert_true(there("bus/pci/drivers/pcitest/" PF_NAME));
	assert_non_null(strstr(show(PF("uevent")), "DRIVER=pcitest\n"));
	assert_string_equal(show(PF("enable")), "1\n");
	assert_string_equal(show(PF("sriov_vf_total_msix")), "16\n");
	/* Not probed, and not vfio-pci's. */
	assert_int_equal(put(PF("sriov_drivers_autoprobe"), "maybe"), -EINVAL);
	assert_int_equal(put(PF("sriov_drivers_autoprobe"), "Off\n"), 4);
	assert_string_equal(show(PF("sriov_drivers_autoprobe")), "0\n");
	assert_int_equal(put(PF("sriov_numvfs"), "2"), 1);
	assert_false(there(DIR_OF(VF0) "driver"));
	assert_string_equal(show(DIR_OF(VF0) "driver_override"), "(null)\n");
	assert_int_equal(put(DIR_OF(VF0) "sriov_vf_msix_count", "x"), -EINVAL);
	assert_int_equal(put(DIR_OF(VF0) "sriov_vf_msix_count", "-1"), -EINVAL);
	assert_int_equal(put(DIR_OF(VF0) "sriov_vf_msix_count", "0x3\n"), 4);
	assert_int_equal(put(DIR_OF(VF0) "sriov_vf_msix_count", "99"), -EOVERFLOW);
	assert_int_equal(put(DIR_OF(VF0) "driver_override", "vfio-pci"), 8);
	assert_int_equal(put("bus/pci/drivers/vfio-pci/bind", VF0), strlen(VF0));
	assert_int_equal(put(DIR_OF(VF0) "sriov_vf_msix_count", "2"), -EBUSY);
	assert_int_equal(put(PF("sriov_numvfs"), "0"), 1);
	/* The stub enables, and has no pool; its VFs outlive it. */
	assert_int_equal(put("bus/pci/drivers/pcitest/unbind", PF_NAME), strlen(PF_NAME));
	assert_int_equal(put("bus/pci/drivers/pci-pf-stub/new_id", "1234 5054"), 9);
	assert_true(there("bus/pci/drivers/pci-pf-stub/" PF_NAME));
	assert_string_equal(show(PF("sriov_vf_total_msix")), "0\n");
	assert_int_equal(put(PF("sriov_drivers_autoprobe"), "1"), 1);
	assert_int_equal(put_number(PF("sriov_numvfs"), 1), 1);
	assert_true(there("bus/pci/drivers/vfio-pci/" VF0));
	assert_int_equal(put("bus/pci/drivers/pci-pf-stub/unbind", PF_NAME), strlen(PF_NAME));
	assert_true(there(PF("virtfn0")));
	assert_int_equal(put(PF("remove"), "1"), 1);
	assert_false(there("devices/" PF_NAME));
	down();
	fixture_close(&f);
}

/* With autoprobe off a VF of vfio-pci's is still vfio-pci's (C.4.13). */
static void test_override(void **state)
{
	struct fixture f;

	sriov_up(&f, "pcitest,vfs=4");
	up(&f, NULL);
	assert_int_equal(put(PF("sriov_drivers_autoprobe"), "n"), 1);
	assert_int_equal(put(PF("sriov_numvfs"), "1"), 1);
	assert_string_equal(show(DIR_OF(VF0) "driver_override"), "vfio-pci\n");
	assert_true(there(DIR_OF(VF0) "driver"));
	/* Without that no driver gets it, whatever ids it has. */
	assert_int_equal(put("bus/pci/drivers/vfio-pci/unbind", VF0), strlen(VF0));
	assert_int_equal(put(DIR_OF(VF0) "driver_override", "\n"), 1);
	assert_int_equal(put("bus/pci/drivers/vfio-pci/new_id", "1234 5055"), 9);
	assert_int_equal(put("bus/pci/drivers/vfio-pci/bind", VF0), -ENODEV);
	assert_false(there(DIR_OF(VF0) "driver"));
	assert_int_equal(put(PF("sriov_drivers_autoprobe"), "y"), 1);
	assert_int_equal(put("bus/pci/drivers_probe", VF0), strlen(VF0));
	assert_true(there(DIR_OF(VF0) "driver"));
	down();
	fixture_close(&f);
}

/* ---- writes that wait ---- */

/* One that takes VFs away waits for their user and holds up nothing but the PF's other writes; who
 * is interrupted is told so, and it goes on. */
static void test_stuck(void **state)
{
	struct fuse_interrupt_in interrupt;
	uint64_t stuck, waiting, to, node;
	struct user user;
	struct fixture f;
	int req;

	sriov_up(&f, "pcitest,vfs=4,vf_token=" TOKEN);
	fixture_add(&f, "pcitest,vfs=2");
	up(&f, NULL);
	assert_int_equal(put(PF("sriov_numvfs"), "2"), 1);
	assert_int_equal(user_open(&f, &user, VF0, "vf_token=" TOKEN), 0);
	req = user_irq(&f, &user, VFIO_PCI_REQ_IRQ_INDEX, 0);
	node = node_of(PF("sriov_numvfs"));
	write_at(node, "0", &stuck);
	irq_wait(req);
	write_at(node, "1", &waiting);
	/* Meanwhile: reads, other functions. */
	assert_true(there("devices/" VF0));
	assert_string_equal(show(PF("sriov_totalvfs")), "4\n");
	assert_true(strlen(show(PF("sriov_numvfs"))) > 0);
	assert_int_equal(put(PF("numa_node"), "-1"), 2);
	assert_true(there("devices/0000:02:00.0"));
	assert_int_equal(put("devices/0000:02:00.0/sriov_numvfs", "2"), 1);
	assert_int_equal(put("devices/0000:02:00.0/sriov_numvfs", "0"), 1);
	assert_true(quiet());
	interrupt.unique = stuck;
	ask(FUSE_INTERRUPT, 0, &interrupt, sizeof(interrupt), NULL, 0);
	assert_int_equal(write_answer(&to), -EINTR);
	assert_int_equal(to, stuck);
	assert_true(quiet());
	user_close(&user);
	assert_int_equal(write_answer(&to), 1);
	assert_int_equal(to, waiting);
	assert_string_equal(show(PF("sriov_numvfs")), "1\n");
	close(req);
	down();
	fixture_close(&f);
}

/* The end of the door ends the wait of those who write, not what they asked for. */
static void test_end(void **state)
{
	struct vfio_device *pf;
	struct user user;
	struct fixture f;
	uint64_t me, to;
	int req;

	sriov_up(&f, "pcitest,vfs=4,vf_token=" TOKEN);
	up(&f, NULL);
	assert_int_equal(put(PF("sriov_numvfs"), "2"), 1);
	assert_int_equal(user_open(&f, &user, VF0, "vf_token=" TOKEN), 0);
	req = user_irq(&f, &user, VFIO_PCI_REQ_IRQ_INDEX, 0);
	write_at(node_of(PF("sriov_numvfs")), "0", &me);
	irq_wait(req);
	sysfs_free(sysfs);
	assert_int_equal(write_answer(&to), -EINTR);
	close(sock);
	user_close(&user);
	pf = get(&f, PF_NAME);
	assert_int_equal(set_numvfs(pf, 0), 0); /* behind what was begun */
	assert_int_equal(vfio_device_num_vfs(pf), 0);
	vfio_device_put(pf);
	close(req);
	fixture_close(&f);
}

/* A crowd that writes 0 and 2 by turns: each gets an answer, which is one that C has. */
static void test_crowd(void **state)
{
	unsigned done = 0, busy = 0;
	struct fixture f;
	uint64_t node, to;

	sriov_up(&f, "pcitest,vfs=2");
	up(&f, NULL);
	node = node_of(PF("sriov_numvfs"));
	for (unsigned i = 0; i < WRITERS; i++)
		write_at(node, i % 3 == 2 ? "0" : i % 3 == 1 ? "1" : "2", &to);
	for (unsigned i = 0; i < WRITERS; i++) {
		int ret = write_answer(&to);

		done += ret == 1;
		busy += ret == -EBUSY;
	}
	assert_int_equal(done + busy, WRITERS);
	assert_int_equal(busy, (WRITERS + 1) / 3); /* those of 1, which always meet 2 */
	assert_int_equal(put(PF("sriov_numvfs"), "0"), 1);
	down();
	fixture_close(&f);
}

/* Directories that are open while what is in them goes: the numbers of what has gone are nobody's.
 */
static void test_gone(void **state)
{
	struct fuse_read_in in = {.size = 300};
	struct fuse_getattr_in getattr = {0};
	struct fuse_attr_out attr;
	uint64_t vf, vendor, link, dir;
	uint8_t buf[4096];
	struct fixture f;
	int n;

	sriov_up(&f, "pcitest,vfs=64");
	up(&f, NULL);
	assert_int_equal(put(PF("sriov_numvfs"), "64"), 2);
	vf = node_of("devices/" VF0);
	vendor = node_of(DIR_OF(VF0) "vendor");
	link = node_of(PF("virtfn63"));
	dir = node_of("devices");
	n = call(FUSE_READDIR, dir, &in, sizeof(in), NULL, 0, buf, sizeof(buf));
	assert_true(n > 0);
	in.offset = ((struct fuse_dirent *)buf)->off;
	assert_int_equal(put(PF("sriov_numvfs"), "0"), 1);
	assert_int_equal(
		call(FUSE_GETATTR, vf, &getattr, sizeof(getattr), NULL, 0, &attr, sizeof(attr)),
		-ENOENT);
	assert_int_equal(
		call(FUSE_GETATTR, vendor, &getattr, sizeof(getattr), NULL, 0, &attr, sizeof(attr)),
		-ENOENT);
	assert_int_equal(call(FUSE_READLINK, link, NULL, 0, NULL, 0, buf, sizeof(buf)), -ENOENT);
	assert_true(call(FUSE_READDIR, dir, &in, sizeof(in), NULL, 0, buf, sizeof(buf)) >= 0);
	assert_int_equal(call(FUSE_READDIR, vf, &in, sizeof(in), NULL, 0, buf, sizeof(buf)),
			 -ENOENT);
	/* Others in their place are others. */
	assert_int_equal(put(PF("sriov_numvfs"), "64"), 2);
	assert_true(there("devices/" VF0));
	assert_int_not_equal(node_of("devices/" VF0), vf);
	down();
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),   cmocka_unit_test(test_numvfs),
		cmocka_unit_test(test_drivers), cmocka_unit_test(test_override),
		cmocka_unit_test(test_stuck),   cmocka_unit_test(test_end),
		cmocka_unit_test(test_crowd),   cmocka_unit_test(test_gone),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
