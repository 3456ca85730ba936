/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The policy of a machine: the kernel's module parameters under their names and with their
 * defaults, and caller_caps, which is ours: the capabilities that clients are treated as having.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/machine_private.h"

#define DEFAULT_DMA_ENTRY_LIMIT 65535u

#ifdef UVFIO_UNSAFE
static const bool with_unsafe = true;
#else
static const bool with_unsafe = false;
#endif

void vfio_policy_default(struct vfio_policy *policy)
{
	*policy = (struct vfio_policy){
		.strict_mmio_maps = true,
		.dma_entry_limit = DEFAULT_DMA_ENTRY_LIMIT,
		.caller_caps = VFIO_CAP_IPC_LOCK,
	};
}

static const struct {
	const char *name;
	unsigned bit;
} caps[] = {
	{"ipc_lock", VFIO_CAP_IPC_LOCK},
	{"sys_rawio", VFIO_CAP_SYS_RAWIO},
	{"sys_resource", VFIO_CAP_SYS_RESOURCE},
};

/* "none" or a list separated by '+'. */
static int parse_caps(const char *value, unsigned *out, struct uvfio_error *err)
{
	const char *pos = value;
	unsigned bits = 0;

	if (!strcmp(value, "none")) {
		*out = 0;
		return 0;
	}
	for (;;) {
		size_t len = strcspn(pos, "+");
		unsigned i;

		for (i = 0; i < ARRAY_SIZE(caps); i++) {
			if (strlen(caps[i].name) == len && !strncmp(caps[i].name, pos, len))
				break;
		}
		if (i == ARRAY_SIZE(caps))
			return uvfio_error_set(err, -EINVAL,
					       "caller_caps=%s: valid are none, or ipc_lock, "
					       "sys_rawio and sys_resource joined by '+'",
					       value);
		bits |= caps[i].bit;
		if (!pos[len])
			break;
		pos += len + 1;
	}
	*out = bits;
	return 0;
}

static int parse_bool(const char *name, const char *value, bool *out, struct uvfio_error *err)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = {{"Y", true},  {"y", true},  {"1", true},  {"on", true},
		     {"N", false}, {"n", false}, {"0", false}, {"off", false}};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(words[i].text, value)) {
			*out = words[i].value;
			return 0;
		}
	}
	return uvfio_error_set(err, -EINVAL, "%s=%s: valid are Y and N", name, value);
}

int vfio_policy_set(struct vfio_policy *policy, const char *assignment, struct uvfio_error *err)
{
	struct {
		const char *name;
		bool *value;
		bool unsafe; /* any other value than @safe gives up safety */
		bool safe;
		const char *lacks; /* why the other value is refused; NULL: it is not */
	} bools[] = {
		{"enable_unsafe_noiommu_mode", &policy->enable_unsafe_noiommu_mode, true, false,
		 "there is no no-IOMMU mode yet"},
		{"allow_unsafe_interrupts", &policy->allow_unsafe_interrupts, true, false, NULL},
		{"strict_mmio_maps", &policy->strict_mmio_maps, true, true,
		 "memory that can neither be pinned nor recognised is always refused"},
		{"enable_sriov", &policy->enable_sriov, false, false,
		 "there are no SR-IOV devices yet"},
		{"nointxmask", &policy->nointxmask, false, false, NULL},
		{"disable_idle_d3", &policy->disable_idle_d3, false, false, NULL},
	};
	bool value = false;
	int ret;
	const char *equals = strchr(assignment, '=');
	size_t len = equals ? (size_t)(equals - assignment) : strlen(assignment);

	if (!equals)
		return uvfio_error_set(err, -EINVAL, "policy '%s' is not KNOB=VALUE", assignment);
	for (unsigned i = 0; i < ARRAY_SIZE(bools); i++) {
		if (strlen(bools[i].name) != len || strncmp(bools[i].name, assignment, len))
			continue;
		ret = parse_bool(bools[i].name, equals + 1, &value, err);
		if (ret)
			return ret;
		if (!with_unsafe && bools[i].unsafe && value != bools[i].safe)
			return uvfio_error_set(err, -EPERM,
					       "%s: this uvfio was built without unsafe settings "
					       "(meson's -Dunsafe=disabled)",
					       assignment);
		if (bools[i].lacks && value != bools[i].safe)
			return uvfio_error_set(err, -EOPNOTSUPP, "%s: not supported: %s",
					       assignment, bools[i].lacks);
		*bools[i].value = value;
		return 0;
	}
	if (len == strlen("dma_entry_limit") && !strncmp(assignment, "dma_entry_limit", len)) {
		const struct uvfio_option option = {"dma_entry_limit", equals + 1};
		uint64_t n;

		ret = uvfio_arg_uint(&(struct uvfio_args){&option, 1}, "dma_entry_limit", 0,
				     UINT32_MAX, &n, err);
		if (!ret)
			policy->dma_entry_limit = (unsigned)n;
		return ret;
	}
	if (len == strlen("caller_caps") && !strncmp(assignment, "caller_caps", len))
		return parse_caps(equals + 1, &policy->caller_caps, err);
	return uvfio_error_set(err, -EINVAL,
			       "there is no policy knob '%.*s'; the knobs are: caller_caps, "
			       "dma_entry_limit, enable_unsafe_noiommu_mode, "
			       "allow_unsafe_interrupts, strict_mmio_maps, enable_sriov, "
			       "nointxmask, disable_idle_d3",
			       (int)len, assignment);
}
