/* utter serve asked by OpenAI's own JavaScript package: speech whole and streamed, events, lists, errors, hanging up.

   usage: node test_serve_openai.cjs UTTER    (exit code 77: what it needs is not there, which it says) */
const {spawn, spawnSync} = require('node:child_process');
const fs = require('node:fs');
const {createRequire} = require('node:module');
const os = require('node:os');
const path = require('node:path');

function skip(why) {
    console.log('skipped:', why);
    process.exit(77);
}

// The package: one that node finds, or one of its own beside the build.
function findOpenai() {
    const place = path.join(process.env.UTTER_BUILD || os.tmpdir(), 'node-openai');
    const local = createRequire(path.join(place, 'here.cjs'));
    const load = (from) => ({OpenAI: from('openai').OpenAI, Stream: from('openai/streaming').Stream});
    for (const from of [require, local])
        try {
            return load(from);
        } catch (error) {
            if (error.code !== 'MODULE_NOT_FOUND') skip('the JavaScript package openai does not load: ' + error.message);
        }
    fs.mkdirSync(place, {recursive: true});
    const npm = spawnSync('npm',
        ['install', '--prefix', place, '--no-audit', '--no-fund', '--fetch-retries=0', '--fetch-timeout=15000', 'openai'],
        {timeout: 120000, encoding: 'utf8'});
    if (npm.status !== 0)
        skip('the JavaScript package openai is not there and could not be fetched (npm install openai): ' +
            (npm.error ? npm.error.message : (npm.stderr || '').split('\n')[0]));
    return load(local);
}

const {OpenAI, Stream} = findOpenai();
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'utter-openai-'));
const spoken = {model: 'gpt-4o-mini-tts', voice: 'alloy', input: 'The old man walked slowly down the quiet street.'};
let nTests = 0, server = null;

function check(what, fine, shown = '') {
    nTests++;
    if (!fine) throw new Error(what + ' ' + shown);
    console.log('ok:', what);
}

// Its address, when it is ready.
function start(...options) {
    return new Promise((done, failed) => {
        let said = '';
        server = spawn(process.argv[2], ['serve', '--port', '0', ...options], {stdio: ['ignore', 'ignore', 'pipe']});
        server.on('exit', (code) => failed(new Error('the server ended: ' + code + ' ' + said)));
        server.stderr.on('data', (bytes) => {
            said += bytes;
            const where = /listening on (http:\S+[0-9])/.exec(said);
            if (where && said.includes('ready after')) done(where[1]);
        });
    });
}

function stop() {
    server.removeAllListeners('exit');
    const ended = new Promise((done) => server.on('exit', (code) => done(code)));
    server.kill('SIGTERM');
    return ended;
}

async function errorOf(promise) {
    try {
        await promise;
    } catch (error) {
        return error;
    }
    throw new Error('no error came');
}

async function metric(address, name) {
    const text = await (await fetch(address + '/metrics')).text();
    return Number(new RegExp('^' + name + ' (.*)$', 'm').exec(text)[1]);
}

async function testSpeech(client) {
    const starts = {mp3: null, opus: 'OggS', aac: null, flac: 'fLaC', wav: 'RIFF'};
    for (const [format, begins] of Object.entries(starts)) {
        const {data, response, request_id} = await client.audio.speech.create({...spoken, response_format: format})
            .withResponse().catch((error) => {
                if (format === 'aac' && error.status === 400) return {};  // a machine without libavcodec
                throw error;
            });
        if (!data) continue;
        const file = path.join(folder, 'speech.' + format);
        await fs.promises.writeFile(file, Buffer.from(await data.arrayBuffer()));
        const start = fs.readFileSync(file).subarray(0, 4).toString('latin1');
        check(format + ' into a file', fs.statSync(file).size > 8000 && (!begins || start === begins), start);
        check(format + ' has its type and a request id',
            response.headers.get('content-type').startsWith('audio/') && request_id === response.headers.get('x-request-id'));
    }
    const whole = Buffer.from(await (await client.audio.speech.create({...spoken, response_format: 'pcm'})).arrayBuffer());
    const streamed = await client.audio.speech.create({...spoken, response_format: 'pcm'});
    const pieces = [];
    for await (const piece of streamed.body) pieces.push(piece);
    check('the body is a stream', pieces.length > 1 && Buffer.concat(pieces).equals(whole), pieces.length);

    const events = await client.audio.speech.create({...spoken, response_format: 'pcm', stream_format: 'sse'});
    check('events have their type', events.headers.get('content-type') === 'text/event-stream');
    const sound = [];
    let last = null;
    for await (const event of Stream.fromSSEResponse(events, new AbortController())) {
        if (event.type === 'speech.audio.delta') sound.push(Buffer.from(event.audio, 'base64'));
        last = event;
    }
    check('events carry the same sound', sound.length > 1 && Buffer.concat(sound).equals(whole));
    check('the last event has the usage',
        last.type === 'speech.audio.done' && last.usage.total_tokens === last.usage.input_tokens + last.usage.output_tokens);

    const fast = Buffer.from(await (await client.audio.speech.create({...spoken, response_format: 'pcm', speed: 2})).arrayBuffer());
    check('speed', fast.length < whole.length * 0.6 && fast.length > whole.length * 0.4, fast.length);
    const byId = await client.audio.speech.create({...spoken, voice: {id: 'slt'}, response_format: 'pcm'});
    check('a voice by its id', (await byId.arrayBuffer()).byteLength > 8000);
}

async function testLists(client) {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    check('models are listed', ids.includes('tts-1') && ids.includes('gpt-4o-mini-tts'), ids);
    check('and looked up', (await client.models.retrieve('tts-1')).object === 'model');
}

async function testErrors(client) {
    const speech = (change) => errorOf(client.audio.speech.create({...spoken, ...change}));
    const model = await speech({model: 'nobody'});
    check('an unknown model', model instanceof OpenAI.NotFoundError && model.code === 'model_not_found' && model.param === 'model');
    const voice = await speech({voice: 'nobody'});
    check('an unknown voice', voice instanceof OpenAI.BadRequestError && voice.param === 'voice', voice.message);
    check('which says what there are', voice.message.includes('slt'), voice.message);
    check('a wrong speed', (await speech({speed: 9})).param === 'speed');
    check('too long a text', (await speech({input: 'a'.repeat(4097)})) instanceof OpenAI.BadRequestError);
}

async function testHangUp(client, address) {
    const gone = new AbortController();
    const long = {...spoken, input: (spoken.input + ' ').repeat(60), response_format: 'wav'};
    const response = await client.audio.speech.create(long, {signal: gone.signal});
    const reader = response.body.getReader();
    await reader.read();
    gone.abort();
    for (let i = 0; i < 600 && await metric(address, 'utter_hangups_total') < 1; i++)
        await new Promise((done) => setTimeout(done, 100));
    check('who aborts is not spoken to', await metric(address, 'utter_hangups_total') === 1);
}

async function testKeys() {
    const made = spawnSync(process.argv[2], ['serve', '--new-key', 'anna'], {encoding: 'utf8'});
    const keys = path.join(folder, 'keys');
    fs.writeFileSync(keys, made.stdout);
    const key = /sk-utter-[0-9a-f]+/.exec(made.stderr)[0];
    const address = await start('--keys', keys);
    const ask = (apiKey) => new OpenAI({apiKey, baseURL: address + '/v1', maxRetries: 0}).audio.speech.create(spoken);
    check('the right key', (await ask(key)).status === 200);
    check('a wrong key', (await errorOf(ask('wrong'))) instanceof OpenAI.AuthenticationError);
    check('the server stops', await stop() === 0);
}

async function main() {
    const address = await start();
    const client = new OpenAI({apiKey: 'none', baseURL: address + '/v1', maxRetries: 0});
    await testSpeech(client);
    await testLists(client);
    await testErrors(client);
    await testHangUp(client, address);
    check('the server ends', await stop() === 0);
    await testKeys();
    console.log(nTests, 'ok');
}

main().then(() => 0, (error) => {
    console.log('FAILED:', error.message);
    return 1;
}).then((code) => {
    if (server) server.kill('SIGKILL');
    fs.rmSync(folder, {recursive: true});
    process.exit(code);
});
