/* SPDX-License-Identifier: BSD-3-Clause */
/* The installed headers in C++, with what a C++ program does with them. */
#include <cstdio>
#include <uvfio/device.h>
#include <uvfio/driver.h>
#include <uvfio/machine.h>

int main()
{
	uvfio_error err = {};
	uvfio_pci *dev = nullptr;

	if (uvfio_pci_open("not a device", nullptr, &dev, &err) == 0 || err.msg[0] == '\0')
		return 1;
	uvfio_pci_close(dev);

	uvfio_machine *machine = nullptr;
	char name[UVFIO_MACHINE_NAME], socket[16];

	if (uvfio_machine_new("log=off", &machine, &err) ||
	    uvfio_machine_add(machine, "pcitest", name, &err))
		return 2;
	std::snprintf(socket, sizeof(socket), "fd:%d", uvfio_machine_connect(machine, name, &err));
	if (uvfio_pci_open(socket, nullptr, &dev, &err))
		return 3;
	uvfio_pci_close(dev);
	if (uvfio_machine_free(machine))
		return 4;
	return 0;
}
