/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/machine.c and policy.c: models, `--device` strings, addresses, groups, policy. */
#include "vfio/observe.h"
#include "vfio_fixture.h"

static void check_refused(struct fixture *f, const char *spec, const char *word)
{
	struct uvfio_error err = {""};

	assert_int_equal(vfio_machine_add_device(f->machine, spec, &err), -EINVAL);
	if (!strstr(err.msg, word))
		fail_msg("'%s' does not name '%s': %s", spec, word, err.msg);
}

static void test_wrong_specs_name_the_valid(void **state)
{
	struct fixture f;

	fixture_machine(&f);
	check_refused(&f, "nosuch", "probe");
	check_refused(&f, "", "probe");
	check_refused(&f, "probe,nosuch=1", "memory");
	check_refused(&f, "probe,nosuch=1", "addr");
	check_refused(&f, "probe,memory", "KEY=VALUE");
	check_refused(&f, "probe,=on", "KEY=VALUE");
	check_refused(&f, "probe,memory=perhaps", "memory");
	check_refused(&f, "probe,memory=on,memory=on", "twice");
	check_refused(&f, "probe,addr=01:00.0,addr=02:00.0", "twice");
	check_refused(&f, "probe,mmio=fast", "polled");
	check_refused(&f, "probe,group=x", "group");
	check_refused(&f, "probe,group=70000", "65535");
	check_refused(&f, "probe,addr=zz", "0000:01:00.0");
	check_refused(&f, "probe,addr=0000:00:01.0", "root");
	assert_int_equal(vfio_machine_devices(f.machine, NULL, 0), 0);
	fixture_close(&f);
}

static void test_model_failure_is_passed_on(void **state)
{
	struct uvfio_error err = {""};
	struct fixture f;

	fixture_machine(&f);
	assert_int_equal(vfio_machine_add_device(f.machine, "probe,fail=a,,b,list=1,list=2", &err),
			 -EIO);
	assert_string_equal(err.msg, "fail=a,b was asked for");
	assert_int_equal(vfio_machine_devices(f.machine, NULL, 0), 0);
	fixture_close(&f);
}

static uint32_t header_type(struct fixture *f, const char *name)
{
	struct vfio_device *dev = vfio_machine_get_device(f->machine, name);
	uint32_t value;

	assert_non_null(dev);
	value = pci_hw_read(vfio_device_func(dev), PCI_HEADER_TYPE, 1);
	vfio_device_put(dev);
	return value;
}

/* A function knows that it is not alone in its slot, also when the other one came later. */
static void test_multifunction(void **state)
{
	struct vfio_device *dev;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe,addr=05:00.0");
	fixture_add(&f, "probe,addr=05:01.0");
	fixture_add(&f, "probe,addr=06:00.0");
	assert_int_equal(header_type(&f, "0000:05:00.0"), 0);
	fixture_add(&f, "probe,addr=05:00.3");
	assert_int_equal(header_type(&f, "0000:05:00.0"), 0x80);
	assert_int_equal(header_type(&f, "0000:05:00.3"), 0x80);
	assert_int_equal(header_type(&f, "0000:05:01.0"), 0);
	assert_int_equal(header_type(&f, "0000:06:00.0"), 0);
	/* No reset takes it away. */
	dev = vfio_machine_get_device(f.machine, "0000:05:00.0");
	assert_int_equal(vfio_device_host_reset(dev), 0);
	vfio_device_put(dev);
	assert_int_equal(header_type(&f, "0000:05:00.0"), 0x80);
	fixture_close(&f);
}

static void test_addresses_and_groups(void **state)
{
	static const struct {
		const char *spec, *name;
		unsigned group;
	} table[] = {
		{"probe", "0000:01:00.0", 1},
		{"probe,addr=0000:02:00.0", "0000:02:00.0", 2},
		{"probe", "0000:03:00.0", 3},              /* 02 is taken */
		{"probe,addr=02:00.1", "0000:02:00.1", 2}, /* one slot, one group */
		{"probe,group=1", "0000:04:00.0", 1},      /* as asked */
		{"probe,addr=0001:a0:1f.7", "0001:a0:1f.7", 4},
		{"probe,addr=02:00.2,group=9", "0000:02:00.2", 9},
		{"probe", "0000:05:00.0", 10},
	};
	struct vfio_device *devs[16];
	struct fixture f;

	fixture_machine(&f);
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		fixture_add(&f, table[i].spec);
		assert_int_equal(vfio_machine_devices(f.machine, devs, 16), i + 1);
		assert_string_equal(vfio_device_name(devs[i]), table[i].name);
		assert_int_equal(vfio_device_group(devs[i]), table[i].group);
		assert_ptr_equal(vfio_device_model(devs[i]), &probe_model);
	}
	check_refused(&f, "probe,addr=02:00.1", "another device");
	fixture_close(&f);
}

static void test_mmio_key(void **state)
{
	struct vfio_device *devs[4];
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe,mmio=exact");
	fixture_add(&f, "probe,mmio=polled");
	fixture_add(&f, "probe,mmio=none");
	assert_int_equal(vfio_machine_devices(f.machine, devs, 4), 4);
	assert_int_equal(vfio_device_mmio(devs[0]), 0);
	assert_int_equal(vfio_device_mmio(devs[1]), 'e');
	assert_int_equal(vfio_device_mmio(devs[2]), 'p');
	assert_int_equal(vfio_device_mmio(devs[3]), 'n');
	fixture_close(&f);
}

static unsigned count_threads(void)
{
	char line[128];
	unsigned n = 0;
	FILE *file = fopen("/proc/self/status", "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "Threads: %u", &n);
	fclose(file);
	return n;
}

static void test_a_thousand_devices(void **state)
{
	static struct vfio_device *devs[1000];
	unsigned before, fds = 0;
	struct fixture f;

	fixture_machine(&f);
	before = count_threads();
	for (unsigned i = 0; i < 1000; i++)
		fixture_add(&f, "probe");
	assert_int_equal(vfio_machine_devices(f.machine, devs, 1000), 1000);
	assert_string_equal(vfio_device_name(devs[254]), "0000:ff:00.0");
	assert_string_equal(vfio_device_name(devs[255]), "0001:01:00.0");
	assert_true(count_threads() <= before + 17);
	for (int fd = 0; fd < 1000; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	assert_true(fds < 100);
	fixture_close(&f);
}

static void test_models(void **state)
{
	struct uvfio_model broken = probe_model;
	struct fixture f;

	fixture_machine(&f);
	assert_int_equal(vfio_machine_add_model(f.machine, &probe_model), -EEXIST);
	broken.name = "broken";
	broken.abi = UVFIO_DEVICE_ABI + 1;
	assert_int_equal(vfio_machine_add_model(f.machine, &broken), -EINVAL);
	fixture_close(&f);
}

static void test_policy(void **state)
{
	static const char *const bad[] = {"",
					  "nosuch=1",
					  "nosuch",
					  "enable_sriov",
					  "enable_sriov=maybe",
					  "dma_entry_limit=x",
					  "dma_entry_limit=4294967296",
					  "caller_caps=",
					  "caller_caps=ipc_lock+",
					  "caller_caps=chown"};
	struct vfio_policy policy;
	struct uvfio_error err;

	vfio_policy_default(&policy);
	assert_int_equal(policy.dma_entry_limit, 65535);
	assert_true(policy.strict_mmio_maps);
	assert_int_equal(policy.caller_caps, VFIO_CAP_IPC_LOCK);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.msg[0] = '\0';
		assert_int_equal(vfio_policy_set(&policy, bad[i], &err), -EINVAL);
		assert_true(err.msg[0]);
	}
	assert_false(policy.enable_sriov);
	assert_int_equal(vfio_policy_set(&policy, "enable_sriov=Y", &err), 0);
	assert_true(policy.enable_sriov);
	assert_true(policy.strict_mmio_maps);
	assert_int_equal(vfio_policy_set(&policy, "nointxmask=Y", &err), 0);
	assert_true(policy.nointxmask);
	assert_int_equal(vfio_policy_set(&policy, "disable_idle_d3=1", &err), 0);
	assert_true(policy.disable_idle_d3);
	assert_int_equal(vfio_policy_set(&policy, "dma_entry_limit=7", &err), 0);
	assert_int_equal(policy.dma_entry_limit, 7);
	assert_int_equal(vfio_policy_set(&policy, "caller_caps=none", &err), 0);
	assert_int_equal(policy.caller_caps, 0);
	assert_int_equal(vfio_policy_set(&policy, "caller_caps=ipc_lock+sys_rawio", &err), 0);
	assert_int_equal(policy.caller_caps, VFIO_CAP_IPC_LOCK | VFIO_CAP_SYS_RAWIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_specs_name_the_valid),
		cmocka_unit_test(test_model_failure_is_passed_on),
		cmocka_unit_test(test_multifunction),
		cmocka_unit_test(test_addresses_and_groups),
		cmocka_unit_test(test_mmio_key),
		cmocka_unit_test(test_a_thousand_devices),
		cmocka_unit_test(test_models),
		cmocka_unit_test(test_policy),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
