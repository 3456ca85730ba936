/* SPDX-License-Identifier: BSD-3-Clause */
/* The installed headers in C++, with what a C++ program does with them. */
#include <uvfio/device.h>
#include <uvfio/driver.h>

int main()
{
	uvfio_error err = {};
	uvfio_pci *dev = nullptr;

	if (uvfio_pci_open("not a device", nullptr, &dev, &err) == 0 || err.msg[0] == '\0')
		return 1;
	uvfio_pci_close(dev);
	return 0;
}
