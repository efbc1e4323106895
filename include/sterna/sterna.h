/* All of the public API. */
#ifndef STERNA_H
#define STERNA_H

#include "sterna/batch.h"
#include "sterna/copy.h"
#include "sterna/dlpack.h"
#include "sterna/error.h"
#include "sterna/fetch.h"
#include "sterna/ingest.h"
#include "sterna/loader.h"
#include "sterna/log.h"
#include "sterna/path.h"
#include "sterna/selection.h"
#include "sterna/state.h"
#include "sterna/store.h"
#include "sterna/version.h"

#endif
