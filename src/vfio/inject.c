/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCI Express errors, and what the host makes of them.
 *
 * What is told here is Linux's error driver: it counts and clears correctable errors; for others it
 * calls ->error_detected() of every driver below the port, which for vfio-pci means to signal ERR;
 * after a fatal one it resets the bus; then it clears what it has heard of.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <linux/pci_regs.h>
#include "vfio/inject.h"
#include "vfio/machine_private.h"

const char *const vfio_aer_outcomes[VFIO_AER_NR_OUTCOMES] = {
	[VFIO_AER_RECORDED] = "recorded",
	[VFIO_AER_CORRECTABLE] = "correctable",
	[VFIO_AER_NONFATAL] = "non-fatal",
	[VFIO_AER_FATAL] = "fatal",
};

static_assert(VFIO_AER_RECORDED == (int)PCI_AER_NOTHING &&
		      VFIO_AER_CORRECTABLE == (int)PCI_AER_CORRECTABLE &&
		      VFIO_AER_NONFATAL == (int)PCI_AER_NONFATAL &&
		      VFIO_AER_FATAL == (int)PCI_AER_FATAL,
	      "outcomes are what the host hears");

static const struct {
	const char *name;
	bool correctable;
	uint32_t bit;
} errors[] = {
	{"RxErr", true, PCI_ERR_COR_RCVR},
	{"BadTLP", true, PCI_ERR_COR_BAD_TLP},
	{"BadDLLP", true, PCI_ERR_COR_BAD_DLLP},
	{"Rollover", true, PCI_ERR_COR_REP_ROLL},
	{"Timeout", true, PCI_ERR_COR_REP_TIMER},
	{"NonFatalErr", true, PCI_ERR_COR_ADV_NFAT},
	{"CorrIntErr", true, PCI_ERR_COR_INTERNAL},
	{"HeaderOF", true, PCI_ERR_COR_LOG_OVER},
	{"DLP", false, PCI_ERR_UNC_DLP},
	{"TLP", false, PCI_ERR_UNC_POISON_TLP},
	{"FCP", false, PCI_ERR_UNC_FCP},
	{"CmpltTO", false, PCI_ERR_UNC_COMP_TIME},
	{"CmpltAbrt", false, PCI_ERR_UNC_COMP_ABORT},
	{"UnxCmplt", false, PCI_ERR_UNC_UNX_COMP},
	{"RxOF", false, PCI_ERR_UNC_RX_OVER},
	{"MalfTLP", false, PCI_ERR_UNC_MALF_TLP},
	{"ECRC", false, PCI_ERR_UNC_ECRC},
	{"UnsupReq", false, PCI_ERR_UNC_UNSUP},
	{"UncorrIntErr", false, PCI_ERR_UNC_INTN},
};

int vfio_aer_parse(const char *name, struct vfio_aer *out, struct uvfio_error *err)
{
	char names[400] = "";
	size_t len = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		if (!strcasecmp(errors[i].name, name)) {
			*out = (struct vfio_aer){errors[i].correctable, errors[i].bit, {0}};
			return 0;
		}
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
					errors[i].name);
	}
	return uvfio_error_set(err, -EINVAL, "there is no error '%s'; the errors are: %s", name,
			       names);
}

/* Who has the function open is told. */
static void tell_users(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (irq_signal_err(devs[i]->irqs))
			device_emit(devs[i], VFIO_EVENT_IRQ, VFIO_PCI_ERR_IRQ_INDEX, 0, 0, 0);
	}
}

static int report(struct vfio_device *dev, const struct vfio_aer *aer, enum pci_aer_heard *heard,
		  struct uvfio_error *err)
{
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = device_is_cut(dev) ? -ENODEV
				 : pci_aer_report(dev->func, aer->correctable, aer->status,
						  aer->header, heard);
	pthread_mutex_unlock(&dev->config_lock);
	switch (ret) {
	case -ENODEV:
		return uvfio_error_set(err, ret, "%s was pulled out", dev->name);
	case -EOPNOTSUPP:
		return uvfio_error_set(err, ret, "%s has no advanced error reporting", dev->name);
	case -EINVAL:
		return uvfio_error_set(err, ret, "%s cannot have the %scorrectable error %#x",
				       dev->name, aer->correctable ? "" : "un", aer->status);
	default:
		return ret;
	}
}

int vfio_device_inject_aer(struct vfio_device *dev, const struct vfio_aer *aer,
			   enum vfio_aer_outcome *outcome, struct uvfio_error *err)
{
	struct vfio_device *devs[MAX_SET];
	enum pci_aer_heard heard = PCI_AER_NOTHING;
	unsigned n;
	int ret = report(dev, aer, &heard, err);

	if (ret)
		return ret;
	if (outcome)
		*outcome = (enum vfio_aer_outcome)heard;
	if (heard >= PCI_AER_NONFATAL) {
		n = reset_set(dev, devs, MAX_SET);
		tell_users(devs, n);
		if (heard == PCI_AER_FATAL)
			reset_set_lose(devs, n);
		reset_set_put(devs, n);
	}
	pthread_mutex_lock(&dev->config_lock);
	pci_aer_host_clear(dev->func, heard);
	pthread_mutex_unlock(&dev->config_lock);
	return 0;
}
