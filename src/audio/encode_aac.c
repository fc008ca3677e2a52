/* AAC in ADTS, by libavcodec: built against its headers, opened when it is first asked for, so that no other command
   waits for its hundred libraries to load, and a machine without it only lacks this format. */
#include "audio/encode_parts.h"

#ifdef UTTER_AVCODEC

#include <dlfcn.h>
#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define LIBRARY "libavcodec.so." TEXT(LIBAVCODEC_VERSION_MAJOR)

enum { BITS_PER_SECOND = 64000, FRAME = 1024, ADTS = 7, ADTS_MAX = (1 << 13) - 1 };

static struct {
    void *library;
    const AVCodec *codec;
    __typeof__(&avcodec_find_encoder) find_encoder;
    __typeof__(&avcodec_alloc_context3) alloc_context;
    __typeof__(&avcodec_free_context) free_context;
    __typeof__(&avcodec_open2) open;
    __typeof__(&avcodec_send_frame) send_frame;
    __typeof__(&avcodec_receive_packet) receive_packet;
    __typeof__(&av_packet_alloc) packet_alloc;
    __typeof__(&av_packet_free) packet_free;
    __typeof__(&av_packet_unref) packet_unref;
    __typeof__(&av_frame_alloc) frame_alloc;
    __typeof__(&av_frame_free) frame_free;
    __typeof__(&av_log_set_level) log_set_level;
    __typeof__(&av_opt_set) opt_set;
} av;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void) {
    av.library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!av.library) return;
    struct {
        const char *name;
        void *at;
    } symbols[] = {
        {"avcodec_find_encoder", &av.find_encoder},
        {"avcodec_alloc_context3", &av.alloc_context},
        {"avcodec_free_context", &av.free_context},
        {"avcodec_open2", &av.open},
        {"avcodec_send_frame", &av.send_frame},
        {"avcodec_receive_packet", &av.receive_packet},
        {"av_packet_alloc", &av.packet_alloc},
        {"av_packet_free", &av.packet_free},
        {"av_packet_unref", &av.packet_unref},
        {"av_frame_alloc", &av.frame_alloc},
        {"av_frame_free", &av.frame_free},
        {"av_log_set_level", &av.log_set_level},
        {"av_opt_set", &av.opt_set},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(av.library, symbols[i].name);
        if (!symbol) return;
        memcpy(symbols[i].at, &symbol, sizeof symbol);
    }
    av.log_set_level(AV_LOG_QUIET);  // it would write to standard error
    av.codec = av.find_encoder(AV_CODEC_ID_AAC);
}

status encode_aac_available(void) {
    pthread_once(&once, load);
    if (!av.library)
        return fail(UTTER_UNSUPPORTED, "aac needs %s, which is not installed here; install it, or choose mp3", LIBRARY);
    if (!av.codec) return fail(UTTER_UNSUPPORTED, "the %s of this machine has no AAC encoder; choose mp3", LIBRARY);
    return UTTER_OK;
}

struct aac_state {
    AVCodecContext *context;
    AVFrame *frame;
    AVPacket *packet;
    float samples[FRAME];  // being collected
    size_t n;
    int64_t at;     // samples sent
    int rate_code;  // as ADTS has it
};

static int rate_code(int rate_hz) {
    static const int rates[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                22050, 16000, 12000, 11025, 8000,  7350};
    for (int i = 0; i < (int)(sizeof rates / sizeof *rates); i++)
        if (rates[i] == rate_hz) return i;
    return -1;
}

static status unusable(const struct audio_encoder *e) {
    return fail(UTTER_UNSUPPORTED, "libavcodec does not write aac sound of %d Hz; choose wav", e->rate_hz);
}

status encode_aac_open(struct audio_encoder *e) {
    TRY(encode_aac_available());
    struct aac_state *state = e->state = calloc(1, sizeof *state);
    if (!state) return fail_memory(sizeof *state, "an encoder");
    state->rate_code = rate_code(e->rate_hz);
    if (state->rate_code < 0) return unusable(e);
    state->context = av.alloc_context(av.codec);
    state->frame = av.frame_alloc();
    state->packet = av.packet_alloc();
    if (!state->context || !state->frame || !state->packet) return fail_memory(sizeof *state, "an AAC encoder");
    state->context->sample_rate = e->rate_hz;
    state->context->sample_fmt = AV_SAMPLE_FMT_FLTP;
    state->context->bit_rate = BITS_PER_SECOND;
    state->context->time_base = (AVRational){1, e->rate_hz};
    state->context->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    state->context->thread_count = 1;
    // a third of the time of its default, and at this rate nearer to the original
    av.opt_set(state->context->priv_data, "aac_coder", "fast", 0);
    av.opt_set(state->context->priv_data, "aac_tns", "0", 0);
    av.opt_set(state->context->priv_data, "aac_pns", "0", 0);
    if (av.open(state->context, av.codec, NULL) < 0 || state->context->frame_size != FRAME) return unusable(e);
    return UTTER_OK;
}

// A packet behind its ADTS header: sync word, MPEG-4 without checksum, low complexity, rate, mono, length, a full
// buffer, one block.
static status write_packet(struct audio_encoder *e, const AVPacket *packet) {
    const struct aac_state *state = e->state;
    unsigned length = (unsigned)packet->size + ADTS, rate = (unsigned)state->rate_code, profile = 1, channels = 1;
    if (length > ADTS_MAX) return fail(UTTER_INTERNAL, "an AAC packet of %u bytes is too long for ADTS", length);
    unsigned char bytes[ADTS_MAX];
    bytes[0] = 0xff;
    bytes[1] = 0xf1;
    bytes[2] = (unsigned char)(profile << 6 | rate << 2 | channels >> 2);
    bytes[3] = (unsigned char)((channels & 3) << 6 | length >> 11);
    bytes[4] = (unsigned char)(length >> 3);
    bytes[5] = (unsigned char)((length & 7) << 5 | 0x1f);
    bytes[6] = 0xfc;
    memcpy(bytes + ADTS, packet->data, (size_t)packet->size);
    return encode_write(e, bytes, length);
}

// frame NULL: the end
static status encode(struct audio_encoder *e, const AVFrame *frame) {
    struct aac_state *state = e->state;
    int result = av.send_frame(state->context, frame);
    if (result < 0) return fail(UTTER_INTERNAL, "libavcodec cannot encode AAC (error %d); choose mp3", result);
    for (;;) {
        result = av.receive_packet(state->context, state->packet);
        if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return UTTER_OK;
        if (result < 0) return fail(UTTER_INTERNAL, "libavcodec cannot encode AAC (error %d); choose mp3", result);
        status s = write_packet(e, state->packet);
        av.packet_unref(state->packet);
        TRY(s);
    }
}

static status send_block(struct audio_encoder *e) {
    struct aac_state *state = e->state;
    if (state->n == 0) return UTTER_OK;
    AVFrame *frame = state->frame;
    frame->nb_samples = (int)state->n;
    frame->format = AV_SAMPLE_FMT_FLTP;
    frame->sample_rate = e->rate_hz;
    frame->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    frame->pts = state->at;
    frame->data[0] = (uint8_t *)state->samples;  // not counted: the encoder copies it
    frame->extended_data = frame->data;
    frame->linesize[0] = (int)sizeof state->samples;
    state->at += (int64_t)state->n;
    state->n = 0;
    return encode(e, frame);
}

status encode_aac_push(struct audio_encoder *e, const float *samples, size_t n) {
    struct aac_state *state = e->state;
    while (n > 0) {
        size_t now = n < FRAME - state->n ? n : FRAME - state->n;
        memcpy(state->samples + state->n, samples, now * sizeof *samples);
        state->n += now;
        samples += now;
        n -= now;
        if (state->n == FRAME) TRY(send_block(e));
    }
    return UTTER_OK;
}

status encode_aac_end(struct audio_encoder *e) {
    TRY(send_block(e));
    return encode(e, NULL);
}

void encode_aac_close(struct audio_encoder *e) {
    struct aac_state *state = e->state;
    if (!state) return;
    if (state->packet) av.packet_free(&state->packet);
    if (state->frame) av.frame_free(&state->frame);
    if (state->context) av.free_context(&state->context);
    free(state);
}

#else

status encode_aac_available(void) {
    return fail(UTTER_UNSUPPORTED, "this utter was built without aac, which needs libavcodec; choose mp3");
}

status encode_aac_open(struct audio_encoder *e) { return (void)e, encode_aac_available(); }
status encode_aac_push(struct audio_encoder *e, const float *samples, size_t n) {
    return (void)e, (void)samples, (void)n, encode_aac_available();
}
status encode_aac_end(struct audio_encoder *e) { return (void)e, encode_aac_available(); }
void encode_aac_close(struct audio_encoder *e) { (void)e; }

#endif
