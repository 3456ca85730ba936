/* SPDX-License-Identifier: BSD-3-Clause */
/* No-IOMMU mode (A.9), interrupt isolation (F), and knobs of a machine that runs. */
#include "vfio_fixture.h"
#include "base/log.h"
#include "vfio/observe.h"
#include "vfio/uio.h"

#ifdef UVFIO_UNSAFE
static const bool with_unsafe = true;
#else
static const bool with_unsafe = false;
#endif

#define DEVICE "probe,iommu=off"

static const char first[] = "0000:01:00.0", second[] = "0000:02:00.0";

static int call(struct fixture *f, struct vfio_container *container, unsigned cmd, uint64_t arg)
{
	return vfio_container_ioctl(container, f->client, cmd, arg);
}

static int set_iommu(struct fixture *f, uint64_t type)
{
	return call(f, f->container, VFIO_SET_IOMMU, type);
}

static int extension(struct fixture *f, uint64_t what)
{
	return call(f, f->container, VFIO_CHECK_EXTENSION, what);
}

static int get_device(struct fixture *f, struct vfio_group_file *gf, const char *name)
{
	return vfio_group_get_device(gf, f->client, (uintptr_t)name, &f->df);
}

static int set_knob(struct fixture *f, const char *assignment)
{
	struct uvfio_error err = {""};
	int ret = vfio_machine_set_policy(f->machine, assignment, &err);

	assert_true(!ret == !err.msg[0]);
	return ret;
}

/* A machine in no-IOMMU mode whose clients have @caps; skipped where it is compiled out. */
static void unsafe_machine(struct fixture *f, unsigned caps)
{
	struct vfio_policy policy;
	struct uvfio_error err;

	if (!with_unsafe)
		skip();
	vfio_policy_default(&policy);
	assert_int_equal(vfio_policy_set(&policy, "enable_unsafe_noiommu_mode=Y", &err), 0);
	policy.caller_caps = caps;
	fixture_machine_with(f, &policy);
}

/* ---- what is unsafe can be compiled out ---- */

static void test_compiled_out(void **state)
{
	static const char *const unsafe[] = {"enable_unsafe_noiommu_mode=Y",
					     "allow_unsafe_interrupts=1"};
	struct vfio_policy policy, before;
	struct uvfio_error err;
	struct fixture f;

	fixture_machine(&f);
	for (unsigned i = 0; i < 2; i++) {
		vfio_policy_default(&policy);
		before = policy;
		err.msg[0] = '\0';
		if (with_unsafe) {
			assert_int_equal(vfio_policy_set(&policy, unsafe[i], &err), 0);
			assert_int_equal(set_knob(&f, unsafe[i]), 0);
		} else {
			assert_int_equal(vfio_policy_set(&policy, unsafe[i], &err), -EPERM);
			assert_non_null(strstr(err.msg, "-Dunsafe=disabled"));
			assert_memory_equal(&policy, &before, sizeof(policy));
			assert_int_equal(set_knob(&f, unsafe[i]), -EPERM);
		}
	}
	assert_int_equal(set_knob(&f, "enable_unsafe_noiommu_mode=N"), 0);
	fixture_close(&f);
}

/* ---- A.9 ---- */

static void test_off_by_default(void **state)
{
	struct uvfio_error err = {""};
	struct fixture f;

	fixture_machine(&f);
	assert_int_equal(vfio_machine_add_device(f.machine, DEVICE, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "enable_unsafe_noiommu_mode=Y"));
	assert_int_equal(vfio_machine_taint(f.machine), 0);
	assert_int_equal(vfio_container_open(f.machine, &f.container), 0);
	assert_int_equal(extension(&f, VFIO_NOIOMMU_IOMMU), 0);
	fixture_close(&f);
}

static void test_keys(void **state)
{
	struct uvfio_error err = {""};
	struct fixture f;

	unsafe_machine(&f, 0);
	assert_int_equal(vfio_machine_add_device(f.machine, DEVICE ",group=4", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "group="));
	assert_int_equal(vfio_machine_add_device(f.machine, "probe,iommu=maybe", &err), -EINVAL);
	fixture_add(&f, DEVICE ",addr=0000:01:00.0");
	/* No group is shared with what has no IOMMU, on the same bus or by number. */
	fixture_add(&f, "probe,addr=0000:01:00.1");
	fixture_add(&f, DEVICE ",addr=0000:01:00.2");
	assert_int_equal(vfio_machine_add_device(f.machine, "probe,group=1", &err), -EINVAL);
	fixture_add(&f, "probe,iommu=on,group=2");
	fixture_close(&f);
}

static void test_taint(void **state)
{
	struct vfio_device *dev;
	struct fixture f;

	unsafe_machine(&f, 0);
	fixture_add(&f, "probe");
	assert_int_equal(vfio_machine_taint(f.machine), 0);
	fixture_add(&f, DEVICE);
	assert_int_equal(vfio_machine_taint(f.machine), 1u << VFIO_TAINT_NOIOMMU);
	assert_string_equal(vfio_taint_name(VFIO_TAINT_NOIOMMU), "no-iommu");
	dev = vfio_machine_get_device(f.machine, first);
	assert_false(vfio_device_noiommu(dev));
	vfio_device_put(dev);
	dev = vfio_machine_get_device(f.machine, second);
	assert_true(vfio_device_noiommu(dev));
	vfio_device_put(dev);
	fixture_close(&f);
}

/* Each step asks for it anew, behind what else may be wrong. */
static void test_sys_rawio(void **state)
{
	struct vfio_group_file *other;
	struct fixture f;

	unsafe_machine(&f, VFIO_CAP_IPC_LOCK);
	fixture_add(&f, DEVICE);
	assert_int_equal(vfio_group_open(f.machine, 2, &f.gf), -ENODEV);
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), -EPERM);
	fixture_close(&f);

	unsafe_machine(&f, VFIO_CAP_SYS_RAWIO);
	fixture_add(&f, DEVICE);
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	assert_int_equal(vfio_group_open(f.machine, 1, &other), -EBUSY);
	fixture_close(&f);
}

static void test_container(void **state)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map), .flags = 3};
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	struct vfio_group_file *real;
	struct vfio_container *other;
	struct fixture f;

	unsafe_machine(&f, VFIO_CAP_SYS_RAWIO);
	fixture_add(&f, DEVICE);
	fixture_add(&f, "probe");
	assert_int_equal(vfio_group_open(f.machine, 1, &f.gf), 0);
	assert_int_equal(vfio_group_open(f.machine, 2, &real), 0);
	assert_int_equal(vfio_container_open(f.machine, &f.container), 0);
	assert_int_equal(vfio_container_open(f.machine, &other), 0);
	/* Any type could come. */
	assert_int_equal(extension(&f, VFIO_NOIOMMU_IOMMU), 1);
	assert_int_equal(extension(&f, VFIO_TYPE1_IOMMU), 1);
	assert_int_equal(set_iommu(&f, VFIO_NOIOMMU_IOMMU), -EINVAL);
	assert_int_equal(get_device(&f, f.gf, first), -EINVAL);

	assert_int_equal(vfio_group_set_container(f.gf, f.container), 0);
	assert_int_equal(extension(&f, VFIO_NOIOMMU_IOMMU), 1);
	assert_int_equal(extension(&f, VFIO_TYPE1_IOMMU), 0);
	assert_int_equal(extension(&f, VFIO_UNMAP_ALL), 0);
	assert_int_equal(vfio_group_set_container(real, f.container), -EPERM);
	assert_int_equal(get_device(&f, f.gf, first), -EINVAL);
	assert_int_equal(set_iommu(&f, VFIO_TYPE1_IOMMU), -ENODEV);
	assert_int_equal(set_iommu(&f, VFIO_TYPE1v2_IOMMU), -ENODEV);
	assert_int_equal(set_iommu(&f, VFIO_UNMAP_ALL), -ENODEV);
	assert_int_equal(set_iommu(&f, VFIO_NOIOMMU_IOMMU), 0);
	assert_int_equal(set_iommu(&f, VFIO_NOIOMMU_IOMMU), -EINVAL);
	assert_int_equal(vfio_group_set_container(real, f.container), -EPERM);
	assert_int_equal(extension(&f, VFIO_NOIOMMU_IOMMU), 1);
	assert_int_equal(call(&f, f.container, VFIO_GET_API_VERSION, 0), VFIO_API_VERSION);
	assert_int_equal(call(&f, f.container, VFIO_IOMMU_GET_INFO, (uintptr_t)&info), -ENOTTY);
	assert_int_equal(call(&f, f.container, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map), -ENOTTY);
	assert_int_equal(call(&f, f.container, VFIO_IOMMU_UNMAP_DMA, 0), -ENOTTY);
	assert_int_equal(call(&f, f.container, 0x3b00 + 150, 0), -ENOTTY);
	assert_int_equal(vfio_container_unmap(f.container, f.client, 0, NULL), -ENOTTY);

	/* The other way round. */
	assert_int_equal(vfio_group_set_container(real, other), 0);
	assert_int_equal(call(&f, other, VFIO_CHECK_EXTENSION, VFIO_NOIOMMU_IOMMU), 0);
	assert_int_equal(call(&f, other, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU), -ENODEV);
	assert_int_equal(vfio_group_unset_container(f.gf), 0);
	assert_int_equal(vfio_group_set_container(f.gf, other), -EPERM);
	/* An emptied container is of no kind. */
	assert_int_equal(vfio_group_unset_container(real), 0);
	assert_int_equal(vfio_group_set_container(f.gf, other), 0);
	vfio_group_release(real);
	vfio_container_release(other);
	fixture_close(&f);
}

static void noiommu_up(struct fixture *f)
{
	unsafe_machine(f, VFIO_CAP_SYS_RAWIO);
	fixture_add(f, DEVICE);
	assert_int_equal(vfio_group_open(f->machine, 1, &f->gf), 0);
	assert_int_equal(vfio_container_open(f->machine, &f->container), 0);
	assert_int_equal(vfio_group_set_container(f->gf, f->container), 0);
	assert_int_equal(set_iommu(f, VFIO_NOIOMMU_IOMMU), 0);
	assert_int_equal(get_device(f, f->gf, first), 0);
	f->probe = probes[0];
}

/* The device is as any other, but for its DMA. */
static void test_device(void **state)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct fixture f;

	noiommu_up(&f);
	assert_int_equal(vfio_group_get_status(f.gf, f.client, (uintptr_t)&status), 0);
	assert_int_equal(status.flags, VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(vfio_device_write(f.df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2),
			 2);
	assert_int_equal(probe_command(&f, CMD_WRITE, 0x1000, 16), -EFAULT);
	assert_int_equal(probe_command(&f, CMD_READ, (uintptr_t)f.tc.mem, 16), -EFAULT);
	fixture_close(&f);
}

static void test_mode_switched_off(void **state)
{
	struct uvfio_error err;
	struct fixture f;

	noiommu_up(&f);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(set_knob(&f, "enable_unsafe_noiommu_mode=N"), 0);
	/* What is set stays; nothing is set any more, and nothing bound. */
	assert_int_equal(get_device(&f, f.gf, first), 0);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(extension(&f, VFIO_NOIOMMU_IOMMU), 0);
	assert_int_equal(vfio_group_unset_container(f.gf), 0);
	assert_int_equal(vfio_group_set_container(f.gf, f.container), 0);
	assert_int_equal(set_iommu(&f, VFIO_NOIOMMU_IOMMU), -ENODEV);
	assert_int_equal(vfio_machine_add_device(f.machine, DEVICE, &err), -EINVAL);
	assert_int_equal(set_knob(&f, "enable_unsafe_noiommu_mode=Y"), 0);
	fixture_add(&f, DEVICE);
	fixture_close(&f);
}

/* ---- F ---- */

static void open_real(struct fixture *f)
{
	assert_int_equal(vfio_group_open(f->machine, 1, &f->gf), 0);
	assert_int_equal(vfio_container_open(f->machine, &f->container), 0);
	assert_int_equal(vfio_group_set_container(f->gf, f->container), 0);
}

static void test_not_isolated(void **state)
{
	struct vfio_group_file *gf;
	struct vfio_policy policy;
	struct fixture f;

	vfio_policy_default(&policy);
	assert_false(policy.no_interrupt_isolation);
	policy.no_interrupt_isolation = true;
	fixture_machine_with(&f, &policy);
	fixture_add(&f, "probe");
	fixture_add(&f, "probe");
	open_real(&f);
	assert_int_equal(set_iommu(&f, VFIO_TYPE1_IOMMU), -EPERM);
	assert_int_equal(set_iommu(&f, VFIO_TYPE1v2_IOMMU), -EPERM);
	assert_int_equal(set_iommu(&f, VFIO_UNMAP_ALL), -EINVAL);
	assert_int_equal(set_iommu(&f, VFIO_NOIOMMU_IOMMU), -ENODEV);
	assert_int_equal(get_device(&f, f.gf, first), -EINVAL);
	assert_int_equal(vfio_machine_taint(f.machine), 0);
	if (!with_unsafe) {
		assert_int_equal(set_knob(&f, "allow_unsafe_interrupts=Y"), -EPERM);
		fixture_close(&f);
		return;
	}
	assert_int_equal(set_knob(&f, "allow_unsafe_interrupts=Y"), 0);
	assert_int_equal(set_iommu(&f, VFIO_TYPE1_IOMMU), 0);
	assert_int_equal(vfio_machine_taint(f.machine), 1u << VFIO_TAINT_INTERRUPTS);
	/* Who joins a container that has an IOMMU is attached. */
	assert_int_equal(vfio_group_open(f.machine, 2, &gf), 0);
	assert_int_equal(set_knob(&f, "allow_unsafe_interrupts=N"), 0);
	assert_int_equal(vfio_group_set_container(gf, f.container), -EPERM);
	assert_int_equal(set_knob(&f, "allow_unsafe_interrupts=Y"), 0);
	assert_int_equal(vfio_group_set_container(gf, f.container), 0);
	assert_int_equal(get_device(&f, f.gf, first), 0);
	vfio_group_release(gf);
	fixture_close(&f);
}

/* No-IOMMU mode does not ask for it. */
static void test_not_isolated_noiommu(void **state)
{
	struct vfio_policy policy;
	struct uvfio_error err;
	struct fixture f;

	if (!with_unsafe)
		skip();
	vfio_policy_default(&policy);
	assert_int_equal(vfio_policy_set(&policy, "enable_unsafe_noiommu_mode=Y", &err), 0);
	policy.caller_caps = VFIO_CAP_SYS_RAWIO;
	policy.no_interrupt_isolation = true;
	fixture_machine_with(&f, &policy);
	fixture_add(&f, DEVICE);
	open_real(&f);
	assert_int_equal(set_iommu(&f, VFIO_NOIOMMU_IOMMU), 0);
	fixture_close(&f);
}

/* A write into the interrupt window is a fault, mapped or not, and interrupts nobody. */
static void test_window(void **state)
{
	static const uint64_t in[] = {0xfee00000, 0xfee00ffc, 0xfeeffffc, 0xfedffffe};
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .size = 4096, .iova = 0xfee00000};
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct vfio_fault_record r[8];
	struct vfio_device_stats stats;
	struct fixture f;
	uint64_t total;

	fixture_up(&f, "probe");
	map.vaddr = (uintptr_t)f.tc.mem;
	assert_int_equal(call(&f, f.container, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map), -EINVAL);
	map.iova = 0xfedff000;
	assert_int_equal(call(&f, f.container, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map), 0);
	vfio_device_write(f.df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(probe_command(&f, CMD_WRITE, in[i], 4), -EFAULT);
	assert_int_equal(vfio_device_faults(vfio_device_file_device(f.df), r, 8, &total), 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(r[i].fault.reason, IOMMU_FAULT_INTERRUPT_WINDOW);
	vfio_device_stats(vfio_device_file_device(f.df), &stats);
	assert_int_equal(stats.irqs, 0);
	fixture_close(&f);
}

/* ---- knobs ---- */

static void test_knobs(void **state)
{
	const struct {
		const char *name, *module;
		unsigned mode;
		const char *text;
	} want[] = {
		{"caller_caps", NULL, 0444, "ipc_lock"},
		{"dma_entry_limit", "vfio_iommu_type1", 0644, "65535"},
		{"enable_unsafe_noiommu_mode", "vfio", 0644, "N"},
		{"allow_unsafe_interrupts", "vfio_iommu_type1", 0644, "N"},
		{"enable_uio", NULL, 0444, vfio_uio_built() ? "Y" : "N"},
		{"strict_mmio_maps", NULL, 0444, "Y"},
		{"enable_sriov", "vfio_pci", 0644, "N"},
		{"nointxmask", "vfio_pci", 0644, "N"},
		{"disable_idle_d3", "vfio_pci", 0644, "N"},
	};
	const struct vfio_knob *knob;
	char text[VFIO_KNOB_TEXT];
	struct vfio_policy policy;
	unsigned i;

	vfio_policy_default(&policy);
	for (i = 0; (knob = vfio_policy_knob(i)); i++) {
		assert_true(i < 9);
		assert_string_equal(knob->name, want[i].name);
		assert_true(!knob->module == !want[i].module);
		if (knob->module)
			assert_string_equal(knob->module, want[i].module);
		assert_int_equal(knob->mode, want[i].mode);
		assert_int_equal(vfio_policy_text(&policy, knob->name, text), 0);
		assert_string_equal(text, want[i].text);
	}
	assert_int_equal(i, 9);
	policy.caller_caps = 7;
	assert_int_equal(vfio_policy_text(&policy, "caller_caps", text), 0);
	assert_string_equal(text, "ipc_lock+sys_rawio+sys_resource");
	assert_int_equal(vfio_policy_text(&policy, "caller", text), -EINVAL);
}

static void test_running(void **state)
{
	struct vfio_policy policy;
	struct fixture f;

	fixture_machine(&f);
	assert_int_equal(set_knob(&f, "dma_entry_limit=3"), 0);
	assert_int_equal(set_knob(&f, "nointxmask=Y"), 0);
	assert_int_equal(set_knob(&f, "caller_caps=none"), -EPERM);
	assert_int_equal(set_knob(&f, "strict_mmio_maps=Y"), -EPERM);
	assert_int_equal(set_knob(&f, "nosuch=1"), -EINVAL);
	assert_int_equal(set_knob(&f, "dma_entry_limit"), -EINVAL);
	assert_int_equal(set_knob(&f, "nointxmask=7"), -EINVAL);
	vfio_machine_get_policy(f.machine, &policy);
	assert_int_equal(policy.dma_entry_limit, 3);
	assert_true(policy.nointxmask);
	assert_int_equal(vfio_machine_policy(f.machine)->dma_entry_limit, 65535);

	/* The budget is that of the moment of SET_IOMMU. */
	fixture_add(&f, "probe");
	open_real(&f);
	assert_int_equal(set_iommu(&f, VFIO_TYPE1_IOMMU), 0);
	assert_int_equal(set_knob(&f, "dma_entry_limit=9"), 0);
	for (unsigned i = 0; i < 4; i++) {
		struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
						       .flags = 3,
						       .vaddr = (uintptr_t)f.tc.mem,
						       .iova = i * 4096ull,
						       .size = 4096};

		assert_int_equal(call(&f, f.container, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map),
				 i < 3 ? 0 : -ENOSPC);
	}
	fixture_close(&f);
}

static void test_marked_log(void **state)
{
	static const char want[] = "uvfio: info: before\nuvfio: [tainted] info: after\n";
	char got[200] = "";
	int pipes[2];
	struct uvfio_log *log;

	assert_int_equal(pipe(pipes), 0);
	log = uvfio_log_new(pipes[1], UVFIO_LOG_INFO);
	uvfio_log(log, UVFIO_LOG_INFO, "before");
	uvfio_log_mark(log, "[tainted]");
	uvfio_log_mark(NULL, "[tainted]");
	uvfio_log(log, UVFIO_LOG_INFO, "after");
	uvfio_log_free(log);
	assert_int_equal(read(pipes[0], got, sizeof(got) - 1), sizeof(want) - 1);
	assert_string_equal(got, want);
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compiled_out), cmocka_unit_test(test_off_by_default),
		cmocka_unit_test(test_keys),         cmocka_unit_test(test_taint),
		cmocka_unit_test(test_sys_rawio),    cmocka_unit_test(test_container),
		cmocka_unit_test(test_device),       cmocka_unit_test(test_mode_switched_off),
		cmocka_unit_test(test_not_isolated), cmocka_unit_test(test_not_isolated_noiommu),
		cmocka_unit_test(test_window),       cmocka_unit_test(test_knobs),
		cmocka_unit_test(test_running),      cmocka_unit_test(test_marked_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
