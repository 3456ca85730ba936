/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The policy of a machine: the kernel's module parameters under their names, with their defaults
 * and with the modes of their files in sysfs, and caller_caps, which is ours: the capabilities that
 * clients are treated as having.
 *
 * What a running machine's knobs are is under machine->lock; who needs one asks when the kernel
 * does: at bind (enable_unsafe_noiommu_mode, nointxmask, disable_idle_d3), at SET_IOMMU and at
 * attaching (dma_entry_limit, allow_unsafe_interrupts).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/machine_private.h"

#define DEFAULT_DMA_ENTRY_LIMIT 65535u

#ifdef UVFIO_UNSAFE
static const bool with_unsafe = true;
#else
static const bool with_unsafe = false;
#endif

#ifdef UVFIO_UIO
static const bool with_uio = true;
#else
static const bool with_uio = false;
#endif

void vfio_policy_default(struct vfio_policy *policy)
{
	*policy = (struct vfio_policy){
		.strict_mmio_maps = true,
		.dma_entry_limit = DEFAULT_DMA_ENTRY_LIMIT,
		.caller_caps = VFIO_CAP_IPC_LOCK,
		.enable_uio = with_uio,
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

/* ---- the knobs ---- */

enum knob_type { KNOB_BOOL, KNOB_UINT, KNOB_CAPS };

#define FIELD(name) offsetof(struct vfio_policy, name)

static const struct {
	struct vfio_knob knob;
	enum knob_type type;
	size_t field;
	bool unsafe; /* a boolean: any value but @safe gives up safety */
	bool safe;
	const char *lacks; /* why a value other than @safe is refused; NULL: it is not */
} knobs[] = {
	{{"caller_caps", NULL, 0444}, KNOB_CAPS, FIELD(caller_caps), false, false, NULL},
	{{"dma_entry_limit", "vfio_iommu_type1", 0644},
	 KNOB_UINT,
	 FIELD(dma_entry_limit),
	 false,
	 false,
	 NULL},
	{{"enable_unsafe_noiommu_mode", "vfio", 0644},
	 KNOB_BOOL,
	 FIELD(enable_unsafe_noiommu_mode),
	 true,
	 false,
	 NULL},
	{{"allow_unsafe_interrupts", "vfio_iommu_type1", 0644},
	 KNOB_BOOL,
	 FIELD(allow_unsafe_interrupts),
	 true,
	 false,
	 NULL},
	{{"enable_uio", NULL, 0444},
	 KNOB_BOOL,
	 FIELD(enable_uio),
	 false,
	 false,
#ifdef UVFIO_UIO
	 NULL},
#else
	 "this uvfio was built without uio (meson's -Duio=disabled)"},
#endif
	{{"strict_mmio_maps", NULL, 0444}, KNOB_BOOL, FIELD(strict_mmio_maps), true, true, NULL},
	{{"enable_sriov", "vfio_pci", 0644}, KNOB_BOOL, FIELD(enable_sriov), false, false, NULL},
	{{"nointxmask", "vfio_pci", 0644}, KNOB_BOOL, FIELD(nointxmask), false, false, NULL},
	{{"disable_idle_d3", "vfio_pci", 0644},
	 KNOB_BOOL,
	 FIELD(disable_idle_d3),
	 false,
	 false,
	 NULL},
};

const struct vfio_knob *vfio_policy_knob(unsigned i)
{
	return i < ARRAY_SIZE(knobs) ? &knobs[i].knob : NULL;
}

/* Its place in the table, or that many. */
static unsigned find_knob(const char *name, size_t len)
{
	unsigned i = 0;

	while (i < ARRAY_SIZE(knobs) &&
	       (strlen(knobs[i].knob.name) != len || strncmp(knobs[i].knob.name, name, len) != 0))
		i++;
	return i;
}

static int no_knob(const char *name, size_t len, struct uvfio_error *err)
{
	char names[300] = "";
	size_t at = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(knobs) && at < sizeof(names); i++)
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s", i ? ", " : "",
				       knobs[i].knob.name);
	return uvfio_error_set(err, -EINVAL, "there is no policy knob '%.*s'; the knobs are: %s",
			       (int)len, name, names);
}

static int set_bool(unsigned i, bool *out, const char *assignment, const char *text,
		    struct uvfio_error *err)
{
	bool value = false;
	int ret = parse_bool(knobs[i].knob.name, text, &value, err);

	if (ret)
		return ret;
	if (!with_unsafe && knobs[i].unsafe && value != knobs[i].safe)
		return uvfio_error_set(err, -EPERM,
				       "%s: this uvfio was built without unsafe settings "
				       "(meson's -Dunsafe=disabled)",
				       assignment);
	if (knobs[i].lacks && value != knobs[i].safe)
		return uvfio_error_set(err, -EOPNOTSUPP, "%s: not supported: %s", assignment,
				       knobs[i].lacks);
	*out = value;
	return 0;
}

static int set_uint(const char *name, unsigned *out, const char *text, struct uvfio_error *err)
{
	const struct uvfio_option option = {name, text};
	uint64_t n;
	int ret = uvfio_arg_uint(&(struct uvfio_args){&option, 1}, name, 0, UINT32_MAX, &n, err);

	if (!ret)
		*out = (unsigned)n;
	return ret;
}

int vfio_policy_set(struct vfio_policy *policy, const char *assignment, struct uvfio_error *err)
{
	const char *equals = strchr(assignment, '=');
	size_t len = equals ? (size_t)(equals - assignment) : strlen(assignment);
	unsigned i = find_knob(assignment, len);
	void *field;

	if (!equals)
		return uvfio_error_set(err, -EINVAL, "policy '%s' is not KNOB=VALUE", assignment);
	if (i == ARRAY_SIZE(knobs))
		return no_knob(assignment, len, err);
	field = (char *)policy + knobs[i].field;
	switch (knobs[i].type) {
	case KNOB_BOOL:
		return set_bool(i, field, assignment, equals + 1, err);
	case KNOB_UINT:
		return set_uint(knobs[i].knob.name, field, equals + 1, err);
	default:
		return parse_caps(equals + 1, field, err);
	}
}

static void caps_text(unsigned bits, char out[VFIO_KNOB_TEXT])
{
	size_t len = 0;

	snprintf(out, VFIO_KNOB_TEXT, "none");
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		if (bits & caps[i].bit)
			len += (size_t)snprintf(out + len, VFIO_KNOB_TEXT - len, "%s%s",
						len ? "+" : "", caps[i].name);
	}
}

int vfio_policy_text(const struct vfio_policy *policy, const char *name, char out[VFIO_KNOB_TEXT])
{
	unsigned i = find_knob(name, strlen(name));
	const void *field;

	if (i == ARRAY_SIZE(knobs))
		return -EINVAL;
	field = (const char *)policy + knobs[i].field;
	switch (knobs[i].type) {
	case KNOB_BOOL:
		snprintf(out, VFIO_KNOB_TEXT, "%c", *(const bool *)field ? 'Y' : 'N');
		break;
	case KNOB_UINT:
		snprintf(out, VFIO_KNOB_TEXT, "%u", *(const unsigned *)field);
		break;
	default:
		caps_text(*(const unsigned *)field, out);
	}
	return 0;
}

/* ---- of a running machine ---- */

const struct vfio_policy *vfio_machine_policy(const struct vfio_machine *machine)
{
	return &machine->policy;
}

void vfio_machine_get_policy(struct vfio_machine *machine, struct vfio_policy *out)
{
	pthread_mutex_lock(&machine->lock);
	*out = machine->knobs;
	pthread_mutex_unlock(&machine->lock);
}

int vfio_machine_set_policy(struct vfio_machine *machine, const char *assignment,
			    struct uvfio_error *err)
{
	size_t len = strcspn(assignment, "=");
	unsigned i = find_knob(assignment, len);
	struct vfio_policy policy;
	int ret;

	if (i < ARRAY_SIZE(knobs) && !(knobs[i].knob.mode & 0222))
		return uvfio_error_set(err, -EPERM,
				       "%s is fixed when the machine is made; give --policy %s at "
				       "its start",
				       knobs[i].knob.name, assignment);
	pthread_mutex_lock(&machine->lock);
	policy = machine->knobs;
	ret = vfio_policy_set(&policy, assignment, err);
	if (!ret)
		machine->knobs = policy;
	pthread_mutex_unlock(&machine->lock);
	if (!ret)
		uvfio_log(machine->log, UVFIO_LOG_INFO, "policy: %s", assignment);
	return ret;
}

bool machine_may_rawio(const struct vfio_machine *machine)
{
	return machine->policy.caller_caps & VFIO_CAP_SYS_RAWIO;
}

/* ---- taint ---- */

static const char *const taint_names[] = {
	[VFIO_TAINT_NOIOMMU] = "no-iommu",
	[VFIO_TAINT_INTERRUPTS] = "unsafe-interrupts",
	[VFIO_TAINT_MMIO] = "unsafe-mmio",
};
static_assert(sizeof(taint_names) / sizeof(taint_names[0]) == NR_VFIO_TAINTS, "a name each");

const char *vfio_taint_name(enum vfio_taint taint)
{
	return taint_names[taint];
}

unsigned vfio_machine_taint(const struct vfio_machine *machine)
{
	return atomic_load(&((struct vfio_machine *)(uintptr_t)machine)->taint);
}

void machine_add_taint(struct vfio_machine *machine, enum vfio_taint taint)
{
	atomic_fetch_or(&machine->taint, 1u << taint);
	uvfio_log_mark(machine->log, "[tainted]");
}
