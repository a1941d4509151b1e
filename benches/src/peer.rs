//! Round trips of 4 words between two processes, by what is at hand on Linux. The other end is this program again.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use iceoryx2::prelude::NodeBuilder;
use iceoryx2::service::ipc::Service as Interprocess;
use iceoryx2::service::port_factory::PortFactory as _;
use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Result;

/// As many as a call with 4 message registers carries.
type Message = [u64; 4];

/// What one would pick instead of a protected procedure call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// iceoryx2's request and response, both ends polling, as its own latency benchmark does.
    IceoryxCall,
    /// iceoryx2's publish and subscribe, one service each way, both ends polling.
    IceoryxSamples,
    /// A pair of unix sockets.
    Socket,
    /// A pipe each way, waited for with epoll.
    Pipe,
    /// ipc-channel, one channel each way.
    IpcChannel,
}

impl Peer {
    pub const ALL: [Self; 5] =
        [Self::IceoryxCall, Self::IceoryxSamples, Self::Socket, Self::Pipe, Self::IpcChannel];

    pub fn name(self) -> &'static str {
        match self {
            Self::IceoryxCall => "iceoryx2: request and response, polling",
            Self::IceoryxSamples => "iceoryx2: publish and subscribe, polling",
            Self::Socket => "unix socket, there and back",
            Self::Pipe => "pipe and epoll, there and back",
            Self::IpcChannel => "ipc-channel, there and back",
        }
    }

    /// Nanoseconds.
    pub fn round_trip(self, rounds: u32) -> Result<f64> {
        match self {
            Self::IceoryxCall => iceoryx_call(rounds),
            Self::IceoryxSamples => iceoryx_samples(rounds),
            Self::Socket => socket(rounds),
            Self::Pipe => pipe(rounds),
            Self::IpcChannel => ipc_channel(rounds),
        }
    }
}

/// The other end of the peer with this name, until the first end is gone.
pub fn serve(peer: &str, name: &str) -> Result<()> {
    match Peer::ALL.into_iter().find(|known| format!("{known:?}") == peer).ok_or("no such peer")? {
        Peer::IceoryxCall => serve_iceoryx_call(name),
        Peer::IceoryxSamples => serve_iceoryx_samples(name),
        Peer::Socket => serve_socket(),
        Peer::Pipe => serve_pipe(),
        Peer::IpcChannel => serve_ipc_channel(name),
    }
}

/// The other end's process; it ends with this value.
struct Server(Child);

impl Server {
    fn command(peer: Peer, name: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").arg(format!("{peer:?}")).arg(name);
        Ok(command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Times `rounds` turns, after a tenth as many.
fn time(rounds: u32, mut turn: impl FnMut(Message) -> Result<Message>) -> Result<f64> {
    let mut message = [0; 4];
    for _ in 0..rounds / 10 {
        message = turn(message)?;
    }
    let start = Instant::now();
    for _ in 0..rounds {
        message = turn(message)?;
    }
    let took = start.elapsed();
    // The other end counts in the first word: what was timed went there and back.
    let expected = u64::from(rounds / 10 + rounds);
    if message[0] != expected {
        return Err(format!("{expected} turns taken, {} answered", message[0]).into());
    }
    Ok(took.as_nanos() as f64 / f64::from(rounds))
}

fn answer(mut message: Message) -> Message {
    message[0] += 1;
    message
}

fn to_bytes(message: Message) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).zip(message) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn from_bytes(bytes: [u8; 32]) -> Message {
    let mut message = [0; 4];
    for (word, place) in message.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(place.try_into().unwrap_or_default());
    }
    message
}

fn socket(rounds: u32) -> Result<f64> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut command = Server::command(Peer::Socket, "-")?;
    let _server = Server(command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?);
    // The command holds the other end too, and while it does there is no end of file.
    drop(command);
    time(rounds, |message| {
        ours.write_all(&to_bytes(message))?;
        let mut reply = [0; 32];
        ours.read_exact(&mut reply)?;
        Ok(from_bytes(reply))
    })
}

fn serve_socket() -> Result<()> {
    let mut stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut message = [0; 32];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&to_bytes(answer(from_bytes(message))))?;
    }
    Ok(())
}

fn pipe(rounds: u32) -> Result<f64> {
    let mut command = Server::command(Peer::Pipe, "-")?;
    let mut server = Server(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let (Some(mut there), Some(mut back)) = (server.0.stdin.take(), server.0.stdout.take()) else {
        return Err("no pipes".into());
    };
    let ready = readable(back.as_fd())?;
    time(rounds, |message| {
        there.write_all(&to_bytes(message))?;
        wait(&ready)?;
        let mut reply = [0; 32];
        back.read_exact(&mut reply)?;
        Ok(from_bytes(reply))
    })
}

fn serve_pipe() -> Result<()> {
    // Unbuffered copies of the two standard streams.
    let mut there = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut back = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let ready = readable(there.as_fd())?;
    let mut message = [0; 32];
    loop {
        wait(&ready)?;
        if there.read_exact(&mut message).is_err() {
            return Ok(());
        }
        back.write_all(&to_bytes(answer(from_bytes(message))))?;
    }
}

fn readable(fd: impl AsFd) -> Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    Ok(epoll)
}

fn wait(epoll: &Epoll) -> Result<()> {
    epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
    Ok(())
}

type Ends = (IpcSender<Message>, IpcReceiver<Message>);

fn ipc_channel(rounds: u32) -> Result<f64> {
    let (first, name) = IpcOneShotServer::<Ends>::new()?;
    let _server = Server(Server::command(Peer::IpcChannel, &name)?.spawn()?);
    let (_, (there, back)) = first.accept()?;
    time(rounds, |message| {
        there.send(message)?;
        Ok(back.recv()?)
    })
}

fn serve_ipc_channel(name: &str) -> Result<()> {
    let (there, requests) = ipc::channel()?;
    let (replies, back) = ipc::channel()?;
    IpcSender::<Ends>::connect(name.to_owned())?.send((there, back))?;
    while let Ok(message) = requests.recv() {
        replies.send(answer(message))?;
    }
    Ok(())
}

fn service_name() -> String {
    format!("mk-sandbox-benches/{}", std::process::id())
}

fn iceoryx_call(rounds: u32) -> Result<f64> {
    let name = service_name();
    let node = NodeBuilder::new().create::<Interprocess>()?;
    let service = node
        .service_builder(&name.as_str().try_into()?)
        .request_response::<Message, Message>()
        .open_or_create()?;
    let client = service.client_builder().create()?;
    let _server = Server(Server::command(Peer::IceoryxCall, &name)?.spawn()?);
    while service.dynamic_config().number_of_servers() == 0 {
        std::thread::yield_now();
    }
    time(rounds, |message| {
        let pending = client.loan_uninit()?.write_payload(message).send()?;
        loop {
            if let Some(response) = pending.receive()? {
                return Ok(*response);
            }
            std::hint::spin_loop();
        }
    })
}

fn serve_iceoryx_call(name: &str) -> Result<()> {
    let node = NodeBuilder::new().create::<Interprocess>()?;
    let service =
        node.service_builder(&name.try_into()?).request_response::<Message, Message>().open_or_create()?;
    let server = service.server_builder().create()?;
    while service.dynamic_config().number_of_clients() > 0 {
        for _ in 0..1_000_000 {
            if let Some(request) = server.receive()? {
                request.loan_uninit()?.write_payload(answer(*request)).send()?;
            }
            std::hint::spin_loop();
        }
    }
    Ok(())
}

fn iceoryx_samples(rounds: u32) -> Result<f64> {
    let name = service_name();
    let node = NodeBuilder::new().create::<Interprocess>()?;
    let open = |direction: &str| -> Result<_> {
        let name = format!("{name}/{direction}");
        Ok(node
            .service_builder(&name.as_str().try_into()?)
            .publish_subscribe::<Message>()
            .open_or_create()?)
    };
    let (there, back) = (open("there")?, open("back")?);
    let (publisher, subscriber) = (there.publisher_builder().create()?, back.subscriber_builder().create()?);
    let _server = Server(Server::command(Peer::IceoryxSamples, &name)?.spawn()?);
    while there.dynamic_config().number_of_subscribers() == 0
        || back.dynamic_config().number_of_publishers() == 0
    {
        std::thread::yield_now();
    }
    time(rounds, |message| {
        publisher.loan_uninit()?.write_payload(message).send()?;
        loop {
            if let Some(sample) = subscriber.receive()? {
                return Ok(*sample);
            }
            std::hint::spin_loop();
        }
    })
}

fn serve_iceoryx_samples(name: &str) -> Result<()> {
    let node = NodeBuilder::new().create::<Interprocess>()?;
    let open = |direction: &str| -> Result<_> {
        let name = format!("{name}/{direction}");
        Ok(node
            .service_builder(&name.as_str().try_into()?)
            .publish_subscribe::<Message>()
            .open_or_create()?)
    };
    let (there, back) = (open("there")?, open("back")?);
    let (publisher, subscriber) = (back.publisher_builder().create()?, there.subscriber_builder().create()?);
    while there.dynamic_config().number_of_publishers() > 0 {
        for _ in 0..1_000_000 {
            if let Some(sample) = subscriber.receive()? {
                publisher.loan_uninit()?.write_payload(answer(*sample)).send()?;
            }
            std::hint::spin_loop();
        }
    }
    Ok(())
}
