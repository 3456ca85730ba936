/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VF tokens (C).
 *
 * Theory of operation.  What a PF can do to its VFs nobody can take from it, so the users of both
 * have to know a secret in common.  It is born random when vfio-pci gets the PF, so that nobody
 * knows it; who opens the PF while no VF is open may set it, and so may the PF's user by FEATURE at
 * any time.  It outlasts them.  A VF that was bound while its PF had VFs by vfio-pci cannot be
 * opened without it, nor can the PF while such a VF is open: who replaces the PF's driver has to
 * know the secret of those who use the VFs.
 *
 * The number of open VFs and the token change under one lock, so that a token is not replaced by an
 * open of the PF while a VF that was let in with the old one counts.  Between the check of a VF and
 * its open the lock is let go of, as in the kernel.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <uuid/uuid.h>
#include "vfio/machine_private.h"
#include "vfio/token.h"

static_assert(VFIO_TOKEN_BYTES == sizeof(uuid_t), "libuuid's");

/* ---- tokens on their way ---- */

int vfio_token_parse(const char *text, struct vfio_token *out)
{
	char copy[VFIO_TOKEN_TEXT + 1] = "";
	uuid_t uuid;
	int ret = -EINVAL;

	if (strnlen(text, VFIO_TOKEN_TEXT) == VFIO_TOKEN_TEXT) {
		memcpy(copy, text, VFIO_TOKEN_TEXT);
		if (!uuid_parse(copy, uuid)) {
			memcpy(out->uuid, uuid, sizeof(out->uuid));
			ret = 0;
		}
		explicit_bzero(copy, sizeof(copy));
		explicit_bzero(uuid, sizeof(uuid));
	}
	return ret;
}

void vfio_token_format(const struct vfio_token *token, char out[VFIO_TOKEN_TEXT + 1])
{
	uuid_unparse_lower(token->uuid, out);
}

bool vfio_token_equal(const struct vfio_token *a, const struct vfio_token *b)
{
	const volatile uint8_t *x = a->uuid, *y = b->uuid;
	unsigned differ = 0;

	for (unsigned i = 0; i < VFIO_TOKEN_BYTES; i++)
		differ |= (unsigned)(x[i] ^ y[i]);
	return !differ;
}

void vfio_token_wipe(struct vfio_token *token)
{
	explicit_bzero(token, sizeof(*token));
}

size_t vfio_token_string(const char *name, const struct vfio_token *token,
			 char out[VFIO_TOKEN_STRING])
{
	size_t len = strnlen(name, 15);

	memcpy(out, name, len);
	if (token) {
		memcpy(out + len, " " VFIO_TOKEN_OPTION, sizeof(VFIO_TOKEN_OPTION));
		len += sizeof(VFIO_TOKEN_OPTION);
		vfio_token_format(token, out + len);
		len += VFIO_TOKEN_TEXT;
	}
	out[len] = '\0';
	return len;
}

int vfio_token_options(const char *options, struct vfio_token *token)
{
	int given = 0;

	for (;;) {
		options += strspn(options, " ");
		if (!*options)
			return given;
		if (given || strncmp(options, VFIO_TOKEN_OPTION, strlen(VFIO_TOKEN_OPTION)) != 0)
			return -EINVAL;
		options += strlen(VFIO_TOKEN_OPTION);
		if (vfio_token_parse(options, token))
			return -EINVAL;
		options += VFIO_TOKEN_TEXT;
		given = 1;
	}
}

void vfio_token_wipe_text(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
}

void vfio_token_redact(char *text)
{
	while ((text = strstr(text, VFIO_TOKEN_OPTION))) {
		volatile char *c = text + strlen(VFIO_TOKEN_OPTION);

		for (; *c && *c != ' ' && *c != ','; c++)
			*c = '*';
		text = (char *)c;
	}
}

/* The value of the first one, if it is as long as one. */
static char *first_value(char *text)
{
	char *at = strstr(text, VFIO_TOKEN_OPTION);

	if (!at)
		return NULL;
	at += strlen(VFIO_TOKEN_OPTION);
	return strcspn(at, " ,") == VFIO_TOKEN_TEXT ? at : NULL;
}

bool vfio_token_take(char *text, struct vfio_token *out)
{
	const char *value = first_value(text);
	bool found = value && !vfio_token_parse(value, out);

	vfio_token_redact(text);
	return found;
}

void vfio_token_restore(char *text, const struct vfio_token *token)
{
	char value[VFIO_TOKEN_TEXT + 1], *at = first_value(text);

	if (!at)
		return;
	vfio_token_format(token, value);
	memcpy(at, value, VFIO_TOKEN_TEXT);
	explicit_bzero(value, sizeof(value));
}

/* ---- the core's ---- */

void vf_token_init(struct vfio_device *dev)
{
	pthread_mutex_init(&dev->token.lock, NULL);
}

void vf_token_fini(struct vfio_device *dev)
{
	vfio_token_wipe(&dev->token.value);
	vfio_token_wipe(&dev->token.given);
	pthread_mutex_destroy(&dev->token.lock);
}

/* Version 4.  Without randomness, nobody gets in until the PF's user sets one. */
static bool make_random(struct vfio_token *out)
{
	if (getrandom(out->uuid, sizeof(out->uuid), 0) != sizeof(out->uuid)) {
		vfio_token_wipe(out);
		return false;
	}
	out->uuid[6] = (out->uuid[6] & 0x0f) | 0x40;
	out->uuid[8] = (out->uuid[8] & 0x3f) | 0x80;
	return true;
}

void vf_token_bound(struct vfio_device *dev, bool pf, struct vfio_device *physfn)
{
	struct vf_token *token = &dev->token;

	token->own = pf;
	token->pf = physfn && atomic_load(&physfn->token.listed) ? physfn : NULL;
	if (!pf)
		return;
	pthread_mutex_lock(&token->lock);
	token->users = 0;
	token->known = make_random(&token->value);
	pthread_mutex_unlock(&token->lock);
}

void vf_token_unbound(struct vfio_device *dev)
{
	struct vf_token *token = &dev->token;

	token->own = false;
	token->pf = NULL;
	pthread_mutex_lock(&token->lock);
	vfio_token_wipe(&token->value);
	token->known = false;
	pthread_mutex_unlock(&token->lock);
}

void vf_token_give(struct vfio_device *dev, const struct vfio_token *given)
{
	dev->token.given = *given;
	dev->token.has_given = true;
	(void)vf_token_set(dev, given);
}

bool vfio_device_given_token(const struct vfio_device *dev, struct vfio_token *out)
{
	if (dev->token.has_given)
		*out = dev->token.given;
	return dev->token.has_given;
}

void vf_token_list(struct vfio_device *pf, bool listed)
{
	atomic_store(&pf->token.listed, listed);
}

/* ->lock is held. */
static bool is_equal(const struct vf_token *token, const struct vfio_token *given)
{
	return vfio_token_equal(&token->value, given) & token->known;
}

static enum vf_token_refusal check_vf(struct vfio_device *dev, const struct vfio_token *given)
{
	struct vf_token *token;
	bool equal;

	if (!dev->token.pf)
		return given ? VF_TOKEN_UNUSED : VF_TOKEN_OK;
	if (!given)
		return VF_TOKEN_NEEDED;
	token = &dev->token.pf->token;
	pthread_mutex_lock(&token->lock);
	equal = is_equal(token, given);
	pthread_mutex_unlock(&token->lock);
	return equal ? VF_TOKEN_OK : VF_TOKEN_WRONG;
}

static enum vf_token_refusal check_pf(struct vf_token *token, const struct vfio_token *given,
				      bool store)
{
	enum vf_token_refusal why = VF_TOKEN_OK;

	pthread_mutex_lock(&token->lock);
	if (!token->users) {
		if (given && store) {
			token->value = *given;
			token->known = true;
		}
	} else if (!given) {
		why = VF_TOKEN_NEEDED;
	} else if (!is_equal(token, given)) {
		why = VF_TOKEN_WRONG;
	}
	pthread_mutex_unlock(&token->lock);
	return why;
}

static int check(struct vfio_device *dev, const struct vfio_token *given, bool store,
		 enum vf_token_refusal *why)
{
	*why = dev->token.own ? check_pf(&dev->token, given, store) : check_vf(dev, given);
	return *why == VF_TOKEN_OK ? 0 : *why == VF_TOKEN_UNUSED ? -EINVAL : -EACCES;
}

int vf_token_check(struct vfio_device *dev, const struct vfio_token *given,
		   enum vf_token_refusal *why)
{
	return check(dev, given, true, why);
}

int vfio_device_token_allows(struct vfio_device *dev, const struct vfio_token *given)
{
	enum vf_token_refusal why;
	int ret;

	/* Not while it loses its driver, and its token. */
	pthread_mutex_lock(&dev->machine->lock);
	ret = check(dev, given, false, &why);
	pthread_mutex_unlock(&dev->machine->lock);
	vf_token_remark(dev, why);
	return ret;
}

void vf_token_remark(struct vfio_device *dev, enum vf_token_refusal why)
{
	static const char *const texts[] = {
		[VF_TOKEN_OK] = NULL,
		[VF_TOKEN_UNUSED] =
			"not opened (EINVAL): a VF token was given, and it takes none: it is "
			"no PF, and no VF that its PF has enabled by vfio-pci",
		[VF_TOKEN_NEEDED] =
			"not opened (EACCES): no VF token was given, and it takes the one of "
			"its PF: NAME vf_token=UUID",
		[VF_TOKEN_WRONG] =
			"not opened (EACCES): the VF token that was given is not its PF's",
	};
	char more[48] = "";
	unsigned lost = 0;

	static_assert(ARRAY_SIZE(texts) == NR_VF_TOKEN_REFUSALS, "a text each");
	if (why == VF_TOKEN_OK || !uvfio_ratelimit_ok(&dev->token.refusals, 5, 10000, &lost))
		return;
	if (lost)
		snprintf(more, sizeof(more), " (and %u refusals before)", lost);
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN, "%s: %s%s", dev->name, texts[why], more);
}

int vf_token_set(struct vfio_device *dev, const struct vfio_token *value)
{
	struct vf_token *token = &dev->token;

	if (!token->own)
		return -ENOTTY;
	pthread_mutex_lock(&token->lock);
	token->value = *value;
	token->known = true;
	pthread_mutex_unlock(&token->lock);
	return 0;
}

bool vfio_device_token_now(struct vfio_device *dev, struct vfio_token *out)
{
	struct vf_token *token = &dev->token;
	bool known;

	/* Not while it loses its driver, and its token. */
	pthread_mutex_lock(&dev->machine->lock);
	pthread_mutex_lock(&token->lock);
	known = token->own && token->known;
	if (known)
		*out = token->value;
	pthread_mutex_unlock(&token->lock);
	pthread_mutex_unlock(&dev->machine->lock);
	return known;
}

int vfio_device_token_put(struct vfio_device *dev, const struct vfio_token *value)
{
	int ret;

	pthread_mutex_lock(&dev->machine->lock);
	ret = vf_token_set(dev, value);
	pthread_mutex_unlock(&dev->machine->lock);
	return ret;
}

void vf_token_use(struct vfio_device *dev, bool open)
{
	struct vf_token *token = dev->token.pf ? &dev->token.pf->token : NULL;

	if (!token)
		return;
	pthread_mutex_lock(&token->lock);
	token->users += open ? 1 : -1u;
	pthread_mutex_unlock(&token->lock);
}
