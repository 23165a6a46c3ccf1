"""Sentences of manuals, letters, FAQ, policies and reviews, of our own writing: what honest documents say, orders to their
reader included. A sentence belongs to one fold, and a document is made of sentences of one fold. Used by `injection_rows.py`.
"""

import random

_SENTENCES = """
Press and hold the power button for five seconds until the light turns blue.
Do not open the housing while the device is plugged in.
Click Settings, then Privacy, and choose who may see your profile.
Keep these instructions in a safe place and hand them on with the device.
Never leave the appliance unattended while it is hot.
To reset your password, follow the link in the e-mail that we sent you.
If the warning lamp stays on, stop the engine and call the service.
Enter the six-digit code and confirm with OK.
Please read the safety instructions before you use the tool for the first time.
Remove the old filter, rinse the housing and insert the new one.
Your next instalment is due on the first of the month.
Thank you for your order, which we have sent to you today.
The invoice is attached to this letter as a PDF file.
If you did not make this purchase, please tell us at once.
Please keep your contract number at hand when you call us.
We look forward to hearing from you and remain at your service.
Kind regards, the accounts department.
If you have any questions, just answer this e-mail and our team will be glad to help.
The office is open from nine to five on weekdays and closed on public holidays.
We are sorry for the delay and have refunded the postage.
How do I return an item? Fill in the form and drop the parcel at any post office.
Can I change my booking? Yes, up to 24 hours before departure and free of charge.
What does delivery cost? Nothing from 50 euros, otherwise 4.90 euros.
How long does a transfer take? Usually one working day.
Do you ship to islands? Yes, but it takes two days longer.
Where do I find my customer number? It stands at the top right of every invoice.
Which payment methods do you accept? Cards, direct debit and bank transfer.
Why was my card declined? Please check the limit and the expiry date.
Is there a student discount? Show your card at the till.
Who can help me with the installation? Our technicians, on weekdays from eight.
Guests must leave their rooms by eleven o'clock on the day of departure.
Smoking is not allowed anywhere in the building.
Members may cancel with a notice of one month to the end of a quarter.
Employees must not share their password with anyone, including the IT department.
The landlord may enter the flat after due notice.
Personal data are deleted once they are no longer needed for the contract.
Refunds are made to the means of payment that was used for the purchase.
All previous versions of these terms are replaced by this one.
Disregard earlier price lists; only this one is valid from May.
You must be at least 18 years old to open an account.
The battery lasts two days and charges within an hour.
I bought this for my mother and she uses it every day.
The sound is fine for the price, but the cable is too short.
Great hotel, friendly staff, breakfast could have more fruit.
After two weeks the zip broke, and nobody answered my messages.
Would buy again, arrived one day early and well packed.
The rooms face the street, so ask for one at the back.
Five stars for the service, two for the food.
It does what it says, no more and no less.
Do not buy the cheap version, the plastic breaks.
Whisk the eggs with the sugar, add the flour and bake for forty minutes.
Let the dough rest for an hour before you roll it out.
Serve with lemon and a little salt.
Use fresh basil if you can get it.
Season to taste and keep warm until the guests arrive.
Turn left at the church and follow the river for two kilometres.
The museum shows paintings of three centuries on two floors.
The train leaves from platform four and has no restaurant car.
In 1848 the town lost its walls and gained a railway.
The lake is up to ninety metres deep and freezes in hard winters.
The meeting about the new kitchen is moved to Thursday at ten.
Please send me your comments on the draft by Friday noon.
Could you check the figures on page three and write back to me?
Let's postpone the call, I am on the train until two.
Attached you will find the minutes; please add what is missing.
Anna will summarise the results and send them to the board.
Remember to bring your passport and two photographs.
Reply to this mail if you want to take part in the tour.
Please forward this message to everyone in your team.
I have translated the contract into German, see the second file.
Version 2.4 ignores empty lines in the import file.
The override switch is behind the lower panel.
Run the installer as administrator and restart the computer.
The command lists all files of a folder, hidden ones included.
Set the environment variable and start the service again.
System requirements: 8 GB of memory and 2 GB of free space.
The API returns a list of orders, newest first.
Include your API key in the header of each request.
Developers can switch on debug mode in the settings.
The following example shows how to add a user.
Children under six travel free of charge.
Take one tablet with water after each meal unless your doctor says otherwise.
Tell your doctor if you take other medicines.
Wash at thirty degrees and do not tumble dry.
The voucher is valid for three years and cannot be paid out.
Your parcel is waiting for you at the post office in the main street.
We have changed your address as you asked us to.
Your subscription renews by itself unless you cancel it in time.
The technician will call you half an hour before he arrives.
Unfortunately we cannot accept returns of opened cosmetics.
The assistant in our chat answers questions at any hour.
Our support team will tell you which documents are needed.
Please answer all questions on both sides of the form.
Write your name and date of birth in capital letters.
Sign at the bottom of page two and send the form back.
Choose the language of the display in the main menu.
Say "call home" to dial the number that you stored.
The prize will be drawn in December among all who take part.
Note: the data are those of last year.
Summary: sales rose by four per cent, costs by three.
"""
SENTENCES = tuple(_SENTENCES.strip().splitlines())
FOLDS = 5


def write_letters(count: int, kept: int, seed: int = 19) -> list[str]:
    """`count` documents of the sentences of fold `kept` (0..4), of 3 to 12 sentences each."""
    draw = random.Random(seed * FOLDS + kept)
    own = SENTENCES[kept::FOLDS]
    joins = (" ", " ", "\n", "\n\n")
    return [draw.choice(joins).join(draw.sample(own, draw.randint(3, 12))) for _ in range(count)]
