/* SPDX-License-Identifier: BSD-3-Clause */
/* include/uvfio/machine.h: VFs come and go, and each is a device of its own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <uvfio/driver.h>
#include <uvfio/machine.h>

/* pcitest's registers */
#define ROLE      0x50
#define ROLE_VF   2
#define VF_NUMBER 0x54

static struct uvfio_machine *machine_with(const char *options, const char *spec, char *name)
{
	struct uvfio_machine *machine = NULL;
	struct uvfio_error err = {""};

	if (uvfio_machine_new(options, &machine, &err) ||
	    uvfio_machine_add(machine, spec, name, &err))
		fail_msg("%s", err.msg);
	assert_string_equal(name, "0000:01:00.0");
	return machine;
}

static struct uvfio_pci *open_device(struct uvfio_machine *machine, const char *name)
{
	struct uvfio_error err = {""};
	struct uvfio_pci *dev = NULL;
	char text[16];
	int fd = uvfio_machine_connect(machine, name, &err);

	if (fd < 0)
		fail_msg("%s", err.msg);
	snprintf(text, sizeof(text), "fd:%d", fd);
	if (uvfio_pci_open(text, NULL, &dev, &err))
		fail_msg("%s", err.msg);
	return dev;
}

static void come_and_go(void **state)
{
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *machine =
		machine_with(NULL, "pcitest,vfs=4,numvfs=1,driver=pci-pf-stub", name);
	struct uvfio_error err = {""};
	struct uvfio_pci *dev;

	assert_int_equal(uvfio_machine_set_numvfs(machine, name, 2, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "with 0"));
	assert_int_equal(uvfio_machine_set_numvfs(machine, name, 5, &err), -ERANGE);
	assert_int_equal(uvfio_machine_set_numvfs(machine, name, 0, &err), 0);
	assert_int_equal(uvfio_machine_connect(machine, "0000:01:00.1", &err), -ENODEV);
	assert_int_equal(uvfio_machine_set_numvfs(machine, name, 2, &err), 0);
	assert_int_equal(uvfio_machine_set_numvfs(machine, "0000:02:00.0", 2, &err), -ENODEV);
	assert_int_equal(uvfio_machine_set_numvfs(machine, "0000:01:00.1", 2, &err), -ENODEV);
	dev = open_device(machine, "0000:01:00.2");
	assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, ROLE), ROLE_VF);
	assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, VF_NUMBER), 1);
	uvfio_pci_close(dev);
	assert_int_equal(uvfio_machine_set_numvfs(machine, name, 0, &err), 0);
	assert_int_equal(uvfio_machine_set_numvfs(machine, name, 4, &err), 0);
	assert_int_equal(uvfio_machine_free(machine), 0); /* with those that there are */
}

/* C: the token is part of the name. */
static void tokens(void **state)
{
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *machine =
		machine_with("enable_sriov=Y",
			     "pcitest,vfs=4,numvfs=1,"
			     "vf_token=2ab74924-c335-45f4-9b16-8569e5b08258",
			     name);
	struct uvfio_error err = {""};

	assert_int_equal(uvfio_machine_connect(machine, "0000:01:00.1", &err), -EACCES);
	uvfio_pci_close(
		open_device(machine, "0000:01:00.1 vf_token=2ab74924-c335-45f4-9b16-8569e5b08258"));
	assert_int_equal(uvfio_machine_free(machine), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(come_and_go),
		cmocka_unit_test(tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
