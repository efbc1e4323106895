/* The numbers of the CQL native protocol, version 4 (native_protocol_v4.spec). */
#ifndef STN_CQL_H
#define STN_CQL_H

#include <stdint.h>

#define STN_CQL_VERSION 4
#define STN_CQL_HEADER_BYTES 9
#define STN_CQL_STREAMS_MAX 32768
#define STN_CQL_STREAM_EVENT (-1) /* the server speaks unasked */

enum stn_cql_opcode {
    STN_CQL_ERROR = 0x00,
    STN_CQL_STARTUP = 0x01,
    STN_CQL_READY = 0x02,
    STN_CQL_AUTHENTICATE = 0x03,
    STN_CQL_OPTIONS = 0x05,
    STN_CQL_SUPPORTED = 0x06,
    STN_CQL_QUERY = 0x07,
    STN_CQL_RESULT = 0x08,
    STN_CQL_PREPARE = 0x09,
    STN_CQL_EXECUTE = 0x0A,
    STN_CQL_REGISTER = 0x0B,
    STN_CQL_EVENT = 0x0C,
    STN_CQL_BATCH = 0x0D,
    STN_CQL_AUTH_CHALLENGE = 0x0E,
    STN_CQL_AUTH_RESPONSE = 0x0F,
    STN_CQL_AUTH_SUCCESS = 0x10
};

enum { /* header flags */
       STN_CQL_COMPRESSED = 0x01,
       STN_CQL_TRACING = 0x02,
       STN_CQL_PAYLOAD = 0x04,
       STN_CQL_WARNINGS = 0x08
};

enum stn_cql_result { /* kind of a RESULT */
                      STN_CQL_VOID = 1,
                      STN_CQL_ROWS = 2,
                      STN_CQL_SET_KEYSPACE = 3,
                      STN_CQL_PREPARED = 4,
                      STN_CQL_SCHEMA_CHANGE = 5
};

enum stn_cql_consistency {
    STN_CQL_ONE = 1,
    STN_CQL_QUORUM = 4,
    STN_CQL_ALL = 5,
    STN_CQL_LOCAL_QUORUM = 6,
    STN_CQL_EACH_QUORUM = 7,
    STN_CQL_SERIAL = 8,
    STN_CQL_LOCAL_SERIAL = 9,
    STN_CQL_LOCAL_ONE = 10
};

enum stn_cql_type {
    STN_CQL_CUSTOM = 0x00,
    STN_CQL_ASCII = 0x01,
    STN_CQL_BIGINT = 0x02,
    STN_CQL_BLOB = 0x03,
    STN_CQL_BOOLEAN = 0x04,
    STN_CQL_COUNTER = 0x05,
    STN_CQL_DECIMAL = 0x06,
    STN_CQL_DOUBLE = 0x07,
    STN_CQL_FLOAT = 0x08,
    STN_CQL_INT = 0x09,
    STN_CQL_TIMESTAMP = 0x0B,
    STN_CQL_UUID = 0x0C,
    STN_CQL_VARCHAR = 0x0D,
    STN_CQL_VARINT = 0x0E,
    STN_CQL_TIMEUUID = 0x0F,
    STN_CQL_INET = 0x10,
    STN_CQL_DATE = 0x11,
    STN_CQL_TIME = 0x12,
    STN_CQL_SMALLINT = 0x13,
    STN_CQL_TINYINT = 0x14,
    STN_CQL_DURATION = 0x15,
    STN_CQL_LIST = 0x20,
    STN_CQL_MAP = 0x21,
    STN_CQL_SET = 0x22,
    STN_CQL_UDT = 0x30,
    STN_CQL_TUPLE = 0x31
};

enum stn_cql_error_code {
    STN_CQL_E_SERVER = 0x0000,
    STN_CQL_E_PROTOCOL = 0x000A,
    STN_CQL_E_CREDENTIALS = 0x0100,
    STN_CQL_E_UNAVAILABLE = 0x1000,
    STN_CQL_E_OVERLOADED = 0x1001,
    STN_CQL_E_BOOTSTRAPPING = 0x1002,
    STN_CQL_E_TRUNCATE = 0x1003,
    STN_CQL_E_WRITE_TIMEOUT = 0x1100,
    STN_CQL_E_READ_TIMEOUT = 0x1200,
    STN_CQL_E_READ_FAILURE = 0x1300,
    STN_CQL_E_FUNCTION_FAILURE = 0x1400,
    STN_CQL_E_WRITE_FAILURE = 0x1500,
    STN_CQL_E_CDC_WRITE_FAILURE = 0x1600,
    STN_CQL_E_CAS_WRITE_UNKNOWN = 0x1700,
    STN_CQL_E_SYNTAX = 0x2000,
    STN_CQL_E_UNAUTHORIZED = 0x2100,
    STN_CQL_E_INVALID = 0x2200,
    STN_CQL_E_CONFIG = 0x2300,
    STN_CQL_E_ALREADY_EXISTS = 0x2400,
    STN_CQL_E_UNPREPARED = 0x2500
};

#endif
