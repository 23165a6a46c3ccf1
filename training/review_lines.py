"""Sentences of reviewers, our own, one by one: sentiment told by what happened rather than by a word for it.

Used beside the patterns of `support_lines.py`. None of them stands in `bench/quality/reviews.py`, which is for reporting.
"""

POSITIVE = """
I have already ordered a second one for my mother.
The picture is sharp even in a dark room.
Worked right out of the box, no driver needed.
My husband borrowed it and now I can't get it back.
It survived a fall down the stairs without a scratch.
The nurse held my hand the whole time, I will not forget that.
I slept through the night for the first time in months.
The replacement was at my door the very next morning.
You can tell that somebody thought about every detail.
The steak melted on the tongue.
I was on hold for less than a minute and the lady sorted everything out.
This little machine has saved me hours every week.
After one week my back pain was gone.
The kids have been playing with it for days.
They refunded me without asking a single question.
Nothing to complain about, we will be back next summer.
The lens takes pictures I never thought possible on a phone.
Even my grandfather managed to install it.
I laughed until my belly hurt.
I finally understand fractions thanks to this course.
It does the job, and it does it quietly.
The fabric feels soft and keeps its shape after washing.
The view from the balcony alone was worth the trip.
They answered within five minutes on a Sunday.
The driver called ahead and carried the sofa up three floors.
I keep finding new things that it can do.
Had it for three years now and it has never let me down.
The sequel is even stronger than the first part.
The hotel gave us a free upgrade for our anniversary.
My skin has cleared up since I use this cream.
The instructions were clear and all the screws were there.
It charges from empty to full in half an hour.
Everybody at the table asked for the recipe.
Could not put it down until three in the morning.
I would buy it again in a heartbeat.
My order was wrong, but they put it right within the hour and added a voucher.
The search finds what I mean even when I misspell it.
So glad I switched to you from my old bank.
The volume goes up to levels that shake the house, I love it.
The actors carry the film, you believe every word.
Once you get used to it you don't want to go back.
The bike rides like on rails.
Finally a bag with room for everything.
Great value, I did not expect this quality for twenty euros.
The new dashboard shows me all I need at one glance.
Your chat helped me faster than any hotline ever has.
Perfect fit, and the heel does not rub.
The garden looks twice as big with these lights.
That fixed it, you saved my weekend!
I can hear every instrument, like sitting in the front row.
The waiter remembered our names from last year.
I told all my colleagues about it.
The camera focuses instantly.
Super light, I hardly notice it in my pocket.
It makes the best espresso outside Italy.
My daughter hugged the doll the moment she saw it.
Solid as a rock, no wobbling at all.
The ending gave me goose bumps.
""".strip().splitlines()
NEGATIVE = """
It stopped charging after ten days.
The box was empty when I opened it.
I had to explain my case to four different people.
The picture flickers and the remote does not react.
We left before the main course because nothing came.
The sole came off on my first walk.
I will stick with my old one.
The smell of plastic does not go away, even after weeks.
They keep sending me reminders for a bill that I paid.
The bed squeaked with every move and the walls are made of paper.
Half of the seats on the flight were broken.
My account was locked for no reason and I lost my work.
It says waterproof, but it died in the first rain.
The film could have been over after twenty minutes.
I fell asleep during the second chapter.
My money is gone and your hotline is a recording.
The pictures on the website have nothing to do with what came.
The handle snapped off in my hand.
I sent it back the same day.
The doctor had me wait for two hours and saw me for two minutes.
You need a magnifying glass to read the manual.
The installer crashed three times before I gave up.
It drains the battery in two hours.
The sauce tasted of nothing but salt.
The cleaner had not been in our room for days.
One more update like this and I will look for something else.
They advertise free shipping and then charge you nine euros.
The wifi dropped every ten minutes during my exam.
I regret every cent.
The dialogue sounds as if nobody ever talked to a human being.
Two months and still no refund.
The trousers shrank by two sizes.
The assistant kept repeating the same sentence.
I asked for a vegetarian meal and got chicken.
The pedal came loose while I was riding.
The ads cover half of the screen and cannot be closed.
This toaster burns one side and leaves the other white.
My son cut himself on the edge.
The course consists of someone reading slides aloud.
It takes ages to start and then it freezes.
The voucher code does not work and support does not care.
Nobody told us that the pool was closed all summer.
The paint came off with the first wipe.
I would not even give it away.
How hard can it be to send the right size?
You promised a reply within a day, that was two weeks ago.
Sounds like a tin can.
The heroine is dull and the jokes are older than me.
After the repair it was worse than before.
The seller ignores my messages.
My card was charged three times for one ticket.
It would be a fine phone if it could make calls.
The lid leaks and my whole bag was soaked.
Save your money and buy something else.
I can't get anyone to look at my problem.
The zip of the tent broke in the middle of the storm.
Why do I pay for premium if everything is slow?
They sold my data, I am sure of it.
""".strip().splitlines()
NEUTRAL = """
The lamp takes an E27 bulb of up to 60 watts.
I bought it for my office.
The film runs for two hours and ten minutes.
The museum is closed on Mondays.
It comes with a cable and a short manual.
I live in the third house on the left.
The book is about the history of salt.
There are two sockets on each side.
My size is 42 and I ordered the standard width.
The bus to the airport leaves every half hour.
It connects over Bluetooth or with the cable.
We stayed there for three nights in May.
You can pay by card or on account.
The parcel weighs about four kilos.
I used the previous version until last week.
The bottle holds half a litre.
The room has two beds and a desk.
This is the second time that I order from you.
The phone has a screen of six inches.
I compared it with the model from the other brand.
The course starts on the first of October.
My contract runs until the end of the year.
They have a shop in Leeds and one in York.
I wear it on my left wrist.
The recipe needs three eggs and some flour.
The director also made the film about the lighthouse.
The menu changes every week.
It is made of wood and metal.
The app is available for both systems.
The train was at platform four.
I got it as a present for my birthday.
I would like to order the same one in green.
My colleague ordered it for me.
The jacket has four pockets and a hood.
The warranty is two years.
There is a button on the back to reset it.
I changed my plan from small to medium in June.
The file has about 300 pages.
Breakfast is not included in the price.
I use it two or three times a week.
The table is 80 cm wide.
It is neither better nor worse than the old one.
Some will like it, some will not.
The first half is set in Rome.
The code was sent to my old number.
The dose is one tablet in the morning.
I need the invoice in the name of my company.
Delivery was on Thursday between eight and twelve.
""".strip().splitlines()
